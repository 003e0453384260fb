"""The client of the warm server (see server.py), which starts children and waits for their ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dlrun.errors import RunError
from dlrun.processes import search_path

MOST_PRINTED = 2000  # bytes of a dead server's output that the error shows


class ServerDied(RunError):
    """The server has died, and its children with it."""


@dataclass(eq=False)
class Child:
    """A task in a process that the server has forked for it, or that has run other tasks before."""

    name: str
    request: dict[str, Any] = field(default_factory=dict)  # what the server was asked
    pid: int = 0  # of its process; 0 until the task has begun
    begun: float = 0.0  # when it has begun, by the monotonic clock
    code: int | None = None  # the exit code, negative for a signal, once it has ended
    seconds: float = 0.0  # that it ran
    memory_mib: float = 0.0  # peak
    awaiting: int = 0  # a signal to be sent once the task has begun
    forked: float = 0.0  # when its process was forked
    number: int = 1  # of the task in its process, from 1
    waits: bool = False  # whether the task has ended and its process waits for another

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        if not self.pid:
            self.awaiting = number
        elif self.code is None:
            with suppress(OSError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and all processes that it has started."""
        if not self.pid:
            self.awaiting = signal.SIGKILL
        elif self.code is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)


class Server:
    """A warm server that imports `modules`, and its children. They end with this process, even if it is killed."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dlrun.workers.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | search_path(),
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.children: dict[str, Child] = {}
        self.processes: dict[int, Child] = {}  # by process, the task that it has taken last, or will take
        self.served = False  # whether it has ever answered
        self.unread = b""
        self.request(load=list(modules))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(
        self, name: str, task: str, arguments: Mapping[str, Any], *, keep: str | None = None, after: Child | None = None
    ) -> Child:
        """Run `task`, a `module:function` whose result is the exit code, in a process of its own.

        With `keep`, the process takes further tasks (see kept.py): `after` is a task whose process waits for another.
        """
        request = {"start": name, "task": task, "arguments": arguments} | ({"keep": keep} if keep else {})
        child = self.children[name] = Child(name, request)
        if after is None:
            self.request(**request)
        else:
            after.waits = False
            child.forked, child.number = after.forked, after.number + 1
            self.processes[after.pid] = child
            self.request(**request, process=after.pid)
        return child

    def retire(self, child: Child) -> None:
        """Let the process of a task that has ended exit."""
        child.waits = False
        self.request(retire=child.pid)

    def request(self, **request: Any) -> None:
        """Send a request. That a server has died is found when its answers end."""
        with suppress(OSError):
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()

    def wait(self, seconds: float) -> list[Child]:
        """The children that have ended. Waits up to `seconds` for an answer; raises `ServerDied`."""
        if not select.select([self.answers], [], [], seconds)[0]:
            return []
        data = os.read(self.answers.fileno(), 1 << 20)
        if not data:
            raise self.death_error()
        self.served = True
        *lines, self.unread = (self.unread + data).split(b"\n")
        ended = [self.handle(json.loads(line)) for line in lines]
        return [child for child in ended if child is not None]

    def handle(self, answer: dict[str, Any]) -> Child | None:
        """Update the task that an answer is about. Returns it if it has ended."""
        if "started" in answer:
            self.started(self.children[answer["started"]], answer["pid"])
        elif "ended" in answer:
            child = self.children[answer["ended"]]
            child.waits = True
            return self.conclude(child, answer)
        elif "exited" in answer:
            child = self.processes.pop(answer["exited"])
            child.waits = False
            if child.code is None and child.pid:
                own = child.number == 1  # else the seconds are those of all tasks of the process
                return self.conclude(child, answer if own else answer | {"seconds": time.monotonic() - child.begun})
            if child.code is None:  # the process has ended before it took the task, which goes to another
                child.number = 1
                self.request(**child.request)
        return None

    def started(self, child: Child, pid: int) -> None:
        """Note that a task has begun, and send it the signal that came before."""
        child.pid, child.begun = pid, time.monotonic()
        child.forked = child.begun if child.number == 1 else child.forked
        self.processes[pid] = child
        if child.awaiting:
            child.send(child.awaiting)

    def conclude(self, child: Child, answer: Mapping[str, Any]) -> Child:
        """Note how a task has ended."""
        del self.children[child.name]
        child.code, child.seconds, child.memory_mib = answer["code"], answer["seconds"], answer["memory_mib"]
        return child

    def join(self, child: Child, seconds: float | None = None) -> bool:
        """Wait for the end of a child, at most `seconds`. Returns whether it has ended."""
        until = None if seconds is None else time.monotonic() + seconds
        while child.code is None and (until is None or (left := until - time.monotonic()) > 0):
            self.wait(1.0 if until is None else left)
        return child.code is not None

    def death_error(self) -> ServerDied:
        """The error for a server that has ended unexpectedly, with its last output."""
        code = self.process.wait()
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - MOST_PRINTED))
        output = self.errors.read().decode(errors="replace").strip() or f"exit code {code}"
        what = "the server of the worker processes died" if self.served else "the worker processes cannot be started"
        return ServerDied(f"{what}:\n{output}")

    def close(self) -> None:
        """End the server and its children."""
        for child in self.children.values():
            child.kill()
        with suppress(OSError):
            self.requests.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.answers.close()
        self.errors.close()

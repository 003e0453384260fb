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
from dataclasses import dataclass
from typing import Any

from dlrun.errors import RunError
from dlrun.processes import search_path

MOST_PRINTED = 2000  # bytes of a dead server's output that the error shows


class ServerDied(RunError):
    """The server has died, and its children with it."""


@dataclass(eq=False)
class Child:
    """A process that the server has forked, or is about to."""

    name: str
    pid: int = 0  # 0 until the server has forked it
    begun: float = 0.0  # when it was forked, by the monotonic clock
    code: int | None = None  # the exit code, negative for a signal, once it has ended
    seconds: float = 0.0  # that it ran
    memory_mib: float = 0.0  # peak
    awaiting: int = 0  # a signal to be sent once the process is forked

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        if not self.pid:
            self.awaiting = number
        elif self.code is None:
            with suppress(OSError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and all processes that it has started."""
        if self.pid and self.code is None:
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
        self.served = False  # whether it has ever answered
        self.unread = b""
        self.request(load=list(modules))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, name: str, task: str, arguments: Mapping[str, Any]) -> Child:
        """Fork a child that runs `task`, a `module:function` whose result is the exit code."""
        child = self.children[name] = Child(name)
        self.request(start=name, task=task, arguments=arguments)
        return child

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
        """Update the child that an answer is about. Returns the child if it has ended."""
        if "started" in answer:
            child = self.children[answer["started"]]
            child.pid, child.begun = answer["pid"], time.monotonic()
            if child.awaiting:
                child.send(child.awaiting)
        elif "ended" in answer:
            child = self.children.pop(answer["ended"])
            child.code, child.seconds, child.memory_mib = answer["code"], answer["seconds"], answer["memory_mib"]
            return child
        return None

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

"""This side of the pipe to the warm server (see server.py): children are started, and their ends are heard of."""

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

MOST_PRINTED = 2000  # bytes of what a server that cannot start has printed that are shown


class ServerDied(RunError):
    """The server has died, and its children with it."""


@dataclass(eq=False)
class Child:
    """A process that the server has forked, or is about to."""

    name: str
    pid: int = 0  # until the server has named it
    begun: float = 0.0  # when the server named it, by the monotonic clock
    code: int | None = None  # its exit code (negative: by that signal) when it has ended
    seconds: float = 0.0  # that it lived
    memory_mib: float = 0.0  # the most that it held
    awaiting: int = 0  # a signal that came before the process had a number

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        if not self.pid:
            self.awaiting = number
        elif self.code is None:
            with suppress(OSError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process and all that it has started."""
        if self.pid and self.code is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)


class Server:
    """A warm server that has imported `modules`, and its children. They end with this process, whatever ends it."""

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
        self.served = False  # has it ever answered?
        self.unread = b""
        self.request(load=list(modules))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, name: str, task: str, arguments: Mapping[str, Any]) -> Child:
        """Fork a child that ends with what `task`, a `module:function`, returns as its exit code."""
        child = self.children[name] = Child(name)
        self.request(start=name, task=task, arguments=arguments)
        return child

    def request(self, **request: Any) -> None:
        """Ask for something; a server that has died is noticed when its answers end."""
        with suppress(OSError):
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()

    def wait(self, seconds: float) -> list[Child]:
        """The children that have ended; waits so long for any news. Raises `ServerDied`."""
        if not select.select([self.answers], [], [], seconds)[0]:
            return []
        data = os.read(self.answers.fileno(), 1 << 20)
        if not data:
            raise self.death()
        self.served = True
        *lines, self.unread = (self.unread + data).split(b"\n")
        heard = [self.hear(json.loads(line)) for line in lines]
        return [child for child in heard if child is not None]

    def hear(self, answer: dict[str, Any]) -> Child | None:
        """Note one answer; the child, if it tells of an end."""
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
        """Wait for the end of one child, so long at most; whether it has come."""
        until = None if seconds is None else time.monotonic() + seconds
        while child.code is None and (until is None or (left := until - time.monotonic()) > 0):
            self.wait(1.0 if until is None else left)
        return child.code is not None

    def death(self) -> ServerDied:
        """The error of a server that ends instead of serving, with its own words."""
        code = self.process.wait()
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - MOST_PRINTED))
        words = self.errors.read().decode(errors="replace").strip() or f"exit code {code}"
        what = "the server of the worker processes died" if self.served else "the worker processes cannot be started"
        return ServerDied(f"{what}:\n{words}")

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

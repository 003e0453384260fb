"""A child of the server that runs one task after another, each of which is handed to it when it has ended the last.

It reports to the client itself that a task has begun or ended. It takes no more tasks, and exits, after a task that did
not return 0, after a signal, and when its state cannot be restored.
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from dlrun.processes import peak_mib, reset_peak


def named(place: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, function = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def call(task: str, arguments: Mapping[str, Any]) -> int:
    """Run a task. Returns its exit code, 1 for an exception."""
    try:
        return int(named(task)(**arguments))
    except BaseException:
        traceback.print_exc()
        return 1


class KeptChild:
    """The loop of a child that runs many tasks.

    Args:
        requests: the descriptor from which further tasks are read, JSON a line.
        answers: the file to which answers are written, a line each (shorter than what a pipe takes at once).
        keep: `module:function` of a function that notes the state of the process and returns a function that restores
            it, which returns False if it cannot.
    """

    def __init__(self, requests: int, answers: IO[str], keep: str) -> None:
        self.requests, self.answers, self.keep = requests, answers, keep
        self.unread = b""
        self.arrived, wake = os.pipe()  # of each signal that has a Python handler, its number
        for end in (self.arrived, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> int:
        """Run the tasks that are handed over, until there are no more. Returns the exit code of the last one."""
        restore = named(self.keep)()
        first = True
        while (request := self.read()) is not None:
            if not first:  # the server has said so of the first one, whose process it has just forked
                self.answer(started=request["start"], pid=os.getpid())
            first, began = False, time.monotonic()
            code = call(request["task"], request["arguments"])
            if code != 0 or self.signalled():
                return code
            seconds = time.monotonic() - began
            self.answer(ended=request["start"], code=code, seconds=seconds, memory_mib=peak_mib())
            if not restore():
                break
            reset_peak()
        return 0

    def signalled(self) -> bool:
        """Whether a signal has arrived, but for those of ended child processes."""
        with suppress(BlockingIOError):
            return bool(set(os.read(self.arrived, 4096)) - {int(signal.SIGCHLD)})
        return False

    def read(self) -> dict[str, Any] | None:
        """Wait for the next task. Returns None if there will be none."""
        while b"\n" not in self.unread:
            data = os.read(self.requests, 1 << 16)
            if not data:
                return None
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def answer(self, **values: str | float) -> None:
        """Send an answer; end the process if the client is gone."""
        try:
            print(json.dumps(values), file=self.answers)
        except OSError:
            os._exit(1)

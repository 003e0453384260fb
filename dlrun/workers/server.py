"""The warm server: a process that imports the modules that tasks need, and forks a child for each task.

    python -P -m dlrun.workers.server       reads requests from standard input, answers on standard output, JSON a line

    {"load": ["a.module", "a.module:function"]}         import these, and call the function -> {"loaded": 2}
    {"start": NAME, "task": "a.module:function", "arguments": {...}}
                                    fork a child that ends with what FUNCTION(**ARGUMENTS) returns as its exit code
                                                        -> {"started": NAME, "pid": 123}
                                    later, when it has ended -> {"ended": NAME, "code": -9, ...}

A child has its own process group, so that Ctrl-C at the terminal reaches the client alone, which passes it on. If the
client is killed, standard input closes, the server ends, and its children are killed by the kernel (Linux) or by a
thread of their own (elsewhere). The server computes nothing, since children that are forked after OpenMP or CUDA have
started would hang.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import IO, Any

from dlrun.package import PACKAGE
from dlrun.processes import die_with, peak_mib, set_variables

NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"  # asking whether there is a GPU must not start CUDA here: children could not


def main() -> None:
    """Serve until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of an import must not be taken for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    variables = {NVML: os.environ.get(NVML)}
    os.environ[NVML] = "1"
    ForkServer(answers, variables).serve()


def import_names(names: Sequence[str]) -> int:
    """Import modules, and call functions that are named after a colon. Returns the number of names.

    Errors are left to the task that needs the module, but for a missing module of dlrun.
    """
    for name in names:
        module, _, function = name.partition(":")
        try:
            found = import_module(module)
            if function:
                getattr(found, function)()
        except Exception as error:
            if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == PACKAGE.name:
                raise
            traceback.print_exc()
    gc.freeze()  # else the collector of each child would touch all of it, and copy the pages that they share
    return len(names)


class ForkServer:
    """Forks and reaps children. It waits for two descriptors: standard input and a pipe that SIGCHLD writes to."""

    def __init__(self, answers: IO[str], variables: Mapping[str, str | None]) -> None:
        self.answers = answers
        self.variables = variables  # environment variables that children restore
        self.children: dict[int, tuple[str, float]] = {}
        self.woken, self.wake = os.pipe()
        for end in (self.woken, self.wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        self.unread = b""

    def serve(self) -> None:
        """Answer requests and report ended children until standard input closes; then kill all children."""
        while True:
            ready, _, _ = select.select([0, self.woken], [], [])
            if self.woken in ready:
                with suppress(BlockingIOError):
                    os.read(self.woken, 4096)
                self.reap()
            if 0 in ready and not self.read():
                break
        for pid in self.children:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    def read(self) -> bool:
        """Read requests and answer those that are complete. Returns False at the end of the input."""
        data = os.read(0, 1 << 16)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "load" in request:
                self.answer(loaded=import_names(request["load"]))
            else:
                self.start(request["start"], request["task"], request["arguments"])
        return bool(data)

    def answer(self, **values: str | float) -> None:
        """Send an answer; end the process if the client is gone."""
        try:
            print(json.dumps(values), file=self.answers)
        except OSError:
            os._exit(1)

    def start(self, name: str, task: str, arguments: Mapping[str, Any]) -> None:
        """Fork a child for a task."""
        server = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (self.answers.fileno(), self.woken, self.wake):
                os.close(descriptor)
            os._exit(self.in_child(task, arguments, server))
        with suppress(OSError):
            os.setpgid(pid, pid)  # the child does so as well: either may come first
        self.children[pid] = (name, time.monotonic())
        self.answer(started=name, pid=pid)

    def in_child(self, task: str, arguments: Mapping[str, Any], server: int) -> int:
        """In the child: detach from the server and run the task. Returns the exit code; never raises."""
        try:
            with suppress(OSError):
                os.setpgid(0, 0)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            set_variables(self.variables)
            die_with(server)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            module, _, function = task.partition(":")
            return int(getattr(import_module(module), function)(**arguments))
        except BaseException:
            traceback.print_exc()
            return 1

    def reap(self) -> None:
        """Report the children that have ended, and kill the rest of their process groups."""
        for pid in list(self.children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            name, started = self.children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            self.answer(ended=name, code=code, seconds=time.monotonic() - started, memory_mib=peak_mib(usage))


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal reaches the wake-up descriptor only if it has a handler."""


if __name__ == "__main__":
    main()

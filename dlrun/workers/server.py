"""The warm server: a process that imports the modules that tasks need, and forks a child for each task.

    python -P -m dlrun.workers.server       reads requests from standard input, answers on standard output, JSON a line

    {"load": ["a.module", "a.module:function"]}         import these, and call the function -> {"loaded": 2}
    {"start": NAME, "task": "a.module:function", "arguments": {...}}
                                    fork a child that ends with what FUNCTION(**ARGUMENTS) returns as its exit code
                                                        -> {"started": NAME, "pid": 123}
                                    later, when it has ended -> {"exited": 123, "code": -9, ...}
    {"start": NAME, ..., "keep": "a.module:function"}
                                    fork a child that takes further tasks (see kept.py), and says of each
                                                        -> {"started": ...} and {"ended": NAME, "code": 0, ...}
    {"start": NAME, ..., "process": 123}
                                    hand a task to a child that waits for one
    {"retire": 123}                 a child that waits for a task exits

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
from dlrun.workers.kept import KeptChild, call

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
        self.children: dict[int, float] = {}  # when each was forked
        self.handing: dict[int, int] = {}  # for each kept child, the descriptor to which its tasks are written
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
            elif "retire" in request:
                self.retire(request["retire"])
            else:
                pid = request.get("process") or self.start(request)
                self.hand(pid, line)
        return bool(data)

    def hand(self, pid: int, line: bytes) -> None:
        """Hand a task to a child that is kept. If it has ended, the client learns so from the answer about its end."""
        if pid in self.handing:
            with suppress(OSError):
                os.write(self.handing[pid], line + b"\n")

    def retire(self, pid: int) -> None:
        """Let a kept child exit once it has done its task."""
        if (handing := self.handing.pop(pid, None)) is not None:
            os.close(handing)

    def answer(self, **values: str | float) -> None:
        """Send an answer; end the process if the client is gone."""
        try:
            print(json.dumps(values), file=self.answers)
        except OSError:
            os._exit(1)

    def start(self, request: Mapping[str, Any]) -> int:
        """Fork a child for a task, which is handed to it if it is kept for further ones. Returns its number."""
        server, keep = os.getpid(), request.get("keep")
        sys.stdout.flush()
        sys.stderr.flush()
        requests, handing = os.pipe() if keep else (-1, -1)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (self.woken, self.wake, *self.handing.values(), *([handing] if keep else [])):
                os.close(descriptor)
            kept = KeptChild(requests, self.answers, keep) if keep else None
            if kept is None:
                os.close(self.answers.fileno())
            os._exit(self.in_child(kept, request, server))
        with suppress(OSError):
            os.setpgid(pid, pid)  # the child does so as well: either may come first
        self.children[pid] = time.monotonic()
        if keep:
            os.close(requests)
            self.handing[pid] = handing
        self.answer(started=request["start"], pid=pid)
        return pid

    def in_child(self, kept: KeptChild | None, request: Mapping[str, Any], server: int) -> int:
        """In the child: detach from the server and run the task. Returns the exit code; never raises."""
        try:
            with suppress(OSError):
                os.setpgid(0, 0)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            set_variables(self.variables)
            die_with(server)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            return call(request["task"], request["arguments"]) if kept is None else kept.serve()
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
            self.retire(pid)
            code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.children.pop(pid)
            self.answer(exited=pid, code=code, seconds=seconds, memory_mib=peak_mib(usage))


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal reaches the wake-up descriptor only if it has a handler."""


if __name__ == "__main__":
    main()

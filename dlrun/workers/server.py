"""The warm server: one process that has torch imported, and forks a child for each job.

    python -P -m dlrun.workers.server       reads requests from standard input, answers on standard output, JSON a line

    {"op": "load", "modules": [...]}      import these, too                    -> nothing
    {"op": "gpus"}                        how many GPUs are there              -> {"gpus": 2}
    {"op": "start", "task": {...}}        fork a child that runs the task      -> {"started": SLUG, "pid": 123}
                                          later, when it has ended             -> {"ended": SLUG, "code": -9, ...}

A child has its own process group, so that Ctrl-C at the terminal reaches the sweep alone, which passes it on. When
the sweep dies, standard input closes, the server ends, and its children are killed by the kernel (Linux) or by a
thread of their own (elsewhere). The server itself computes nothing: forking after OpenMP or CUDA have started hangs.
"""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import IO, Any

from dlrun.processes import die_with

WARM = (
    "dlrun.run.runner", "dlrun.run.build", "dlrun.run.resume", "dlrun.run.closing", "dlrun.run.recorder",
    "dlrun.run.session", "dlrun.sweep.task", "torch.optim.lr_scheduler",
    "dlrun.report.curves", "dlrun.report.confusion", "dlrun.report.mistakes", "dlrun.report.fits",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "hydra.core.override_parser.overrides_parser",
)  # fmt: skip
NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"  # asking whether there is a GPU must not start CUDA here: children could not


def main() -> None:
    """Serve until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an import prints must not pass for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ[NVML] = "1"
    load(WARM)
    warm_fonts()
    print(json.dumps({"ready": True}), file=answers)
    Server(answers).serve()


def load(modules: Iterable[str]) -> None:
    """Import modules; one that cannot be is left to the job that needs it, which can say so."""
    for name in modules:
        with suppress(Exception):
            import_module(name)


def warm_fonts() -> None:
    """Draw a little figure: the first one in a process reads fonts and file formats for a third of a second."""
    with suppress(Exception):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure((1.0, 1.0))
        axes = figure.subplots()
        axes.set_title("0123456789")
        axes.set_yscale("log")
        FigureCanvasAgg(figure).print_png(io.BytesIO())


class Server:
    """The children, and the two descriptors that wake the server: its input and the death of a child."""

    def __init__(self, answers: IO[str]) -> None:
        self.answers = answers
        self.children: dict[int, tuple[str, float]] = {}
        self.woken, self.wake = os.pipe()
        for end in (self.woken, self.wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        self.unread = b""

    def serve(self) -> None:
        """Answer requests and announce deaths."""
        while True:
            ready, _, _ = select.select([0, self.woken], [], [])
            if self.woken in ready:
                with suppress(BlockingIOError):
                    os.read(self.woken, 4096)
                self.reap()
            if 0 in ready and not self.read():
                return

    def read(self) -> bool:
        """Take in what was sent, and answer whole lines. False at the end of the input."""
        data = os.read(0, 1 << 16)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            self.answer(json.loads(line))
        return bool(data)

    def answer(self, request: dict[str, Any]) -> None:
        """Do what a request asks."""
        if request["op"] == "load":
            load(request["modules"])
        elif request["op"] == "gpus":
            self.say(gpus=count_gpus())
        elif request["op"] == "start":
            self.start(request["task"])

    def say(self, **words: Any) -> None:
        """Send an answer; if nobody listens any more, there is nothing left to do."""
        try:
            print(json.dumps(words), file=self.answers)
        except OSError:
            os._exit(1)

    def start(self, task: dict[str, Any]) -> None:
        """Fork a child for a task."""
        server = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (self.answers.fileno(), self.woken, self.wake):
                os.close(descriptor)
            os._exit(in_child(task, server))
        with suppress(OSError):
            os.setpgid(pid, pid)  # the child does so, too: whoever comes first
        self.children[pid] = (task["slug"], time.monotonic())
        self.say(started=task["slug"], pid=pid)

    def reap(self) -> None:
        """Announce the children that have ended. What is left of their process groups ends with them."""
        for pid in list(self.children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            slug, started = self.children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            self.say(ended=slug, code=code, seconds=time.monotonic() - started, memory_mib=peak_mib(usage))


def ignore(number: int, frame: FrameType | None) -> None:
    """A handler that does nothing, so that the signal arrives at the wake-up descriptor."""


def peak_mib(usage: resource.struct_rusage) -> float:
    """The most memory that a process has held."""
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def in_child(task: dict[str, Any], server: int) -> int:
    """The life of a child: cut loose from the server, then run the task. Returns the exit code; never raises."""
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.pop(NVML, None)
        die_with(server)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        from dlrun.sweep.task import run_task

        return run_task(task)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def count_gpus() -> int:
    """GPUs that torch can use, asked in a child: this process must not start CUDA."""
    import torch

    if not torch.backends.cuda.is_built():
        return 0
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(min(torch.cuda.device_count(), 255))
        except BaseException:
            os._exit(0)
    return max(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()

"""The interface of executors, which run jobs, and the reasons for which a job's process ends."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dlrun.bounded import open_regular
from dlrun.config.config import Config
from dlrun.errors import ConfigError, Problem
from dlrun.store.failure import Failure
from dlrun.sweep.task import Task

CRASHES: dict[int, str] = {
    signal.SIGSEGV: "crashed (segmentation fault)",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "crashed (bus error)",
    signal.SIGILL: "crashed (illegal instruction)",
    signal.SIGFPE: "crashed (arithmetic error)",
}


@dataclass(frozen=True)
class Ended:
    """The end of a job's process: `code` is its exit code, negative for a signal, None if it is unknown."""

    slug: str
    code: int | None
    memory_mib: float = 0.0
    note: str = ""  # the reason, if the executor knows one
    seconds: float | None = None  # how long it ran, if the executor knows
    timed_out: bool = False  # the executor killed it after `sweep.job_timeout`


class Executor(Protocol):
    """Runs tasks. All calls but `wait` return at once."""

    slots: int  # jobs at a time

    def start(self, task: Task) -> str:
        """Begin a task. Returns a handle for `adopt`, or "" if the task ends with the sweep's process."""

    def adopt(self, slug: str, handle: str) -> bool:
        """Take over a job that an earlier process submitted. Returns False if it cannot be running any more."""

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended since the last call. Waits up to `seconds` for one."""

    def stop(self, number: int) -> None:
        """Send a signal to every job, at which it writes a checkpoint and ends."""

    def kill(self) -> None:
        """End every job at once."""

    def close(self) -> None:
        """End all running jobs and release resources."""


def needs_extra(executor: str, package: str) -> ConfigError:
    """The error of an executor whose package is not installed."""
    hint = f"Install it: pip install 'dlrun[{executor}]'"
    return ConfigError(Problem("sweep.executor", f"{executor} needs the package {package}, which is not here.", hint))


def uses_gpu(config: Config) -> bool:
    """Whether a job may use a GPU."""
    return str(config.device.name).split(":")[0] in ("auto", "cuda")


def process_failure(ended: Ended, timeout: float | None, log: Path) -> Failure:
    """The reason for which a process ended without writing a result."""
    if timeout is not None and (ended.timed_out or hung(log)):
        return Failure("timeout", f"no end after {timeout:g} s (sweep.job_timeout){place_in(log)}")
    if ended.code is None:
        return Failure("crash", ended.note or "its process vanished")
    if ended.code >= 0:
        note = f" ({ended.note})" if ended.note else ""
        return Failure("crash", f"its process ended by itself with exit code {ended.code}{note}")
    name = signal_name(-ended.code)
    memory = "; perhaps the machine ran out of memory" if -ended.code == signal.SIGKILL else ""
    text = f"{CRASHES.get(-ended.code, 'killed')}: {name}{place_in(log)}{memory}"
    return Failure("crash" if -ended.code in CRASHES else "signal", text)


def signal_name(number: int) -> str:
    """The name of a signal, `SIGKILL`; real-time signals are counted from SIGRTMIN."""
    try:
        return signal.Signals(number).name
    except ValueError:
        start = getattr(signal, "SIGRTMIN", number + 1)
        return f"signal {number}" + (f" (SIGRTMIN+{number - start})" if number >= start else "")


def hung(log: Path) -> bool:
    """Whether faulthandler ended the job at its timeout, according to the log."""
    return bool(re.search(r"^Timeout \(\d+:\d+:\d+", tail(log), re.MULTILINE))


def place_in(log: Path) -> str:
    """`, in forward (model.py, line 7)`: the innermost frame of the last stack that faulthandler wrote."""
    stacks = re.split(r"^(?:Current thread|Thread) .*\(most recent call first\):$", tail(log), flags=re.MULTILINE)
    frame = re.search(r'^  File "(.*)", line (\d+) in (.*)$', stacks[-1], re.MULTILINE) if len(stacks) > 1 else None
    return f", in {frame[3]} ({os.path.basename(frame[1])}, line {frame[2]})" if frame else ""


def tail(path: Path, size: int = 20_000) -> str:
    """The end of a text file."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""

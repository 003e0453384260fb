"""Processes that dlrun starts: their import path, their environment variables, and their end with the parent."""

from __future__ import annotations

import atexit
import gc
import os
import resource
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

from dlrun.package import PACKAGE

SAFE_PATH = "PYTHONSAFEPATH"
PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def safe_path() -> Iterator[dict[str, str | None]]:
    """Context manager in which Python processes that are started do not import from the working folder.

    Yields the variables that such a process restores after its start, so that programs which a user's component starts
    are not affected.
    """
    before = {SAFE_PATH: os.environ.get(SAFE_PATH)}
    os.environ[SAFE_PATH] = "1"
    try:
        yield before
    finally:
        set_variables(before)


def set_variables(values: Mapping[str, str | None]) -> None:
    """Set environment variables; None removes one."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def search_path() -> dict[str, str]:
    """The `PYTHONPATH` with which a process imports this dlrun; empty if it does so without."""
    folder = str(PACKAGE.parent)
    if folder in site.getsitepackages() or _found_by_python():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))}


@cache
def _found_by_python() -> bool:
    """Whether a new process imports the same dlrun, without the working folder and `sys.path` of this one."""
    code = f"import {PACKAGE.name}; print({PACKAGE.name}.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()).resolve() == PACKAGE / "__init__.py"


def peak_mib(usage: resource.struct_rusage | None = None) -> float:
    """The peak memory of this process, or of an ended one by its resource usage, in MiB."""
    most = (usage or resource.getrusage(resource.RUSAGE_SELF)).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def reset_peak() -> None:
    """Let `peak_mib` begin anew from the present memory, on Linux. Elsewhere it stays the peak of the whole process."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:  # proc(5): 5 resets the peak resident set size
        file.write("5")


def die_with(parent: int) -> None:
    """Make this process end when its parent does."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    """Exit as soon as the parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def end_process(code: int) -> NoReturn:
    """End this process with an exit code, without the seconds in which Python takes torch and matplotlib apart.

    Everything that others can see is done first: threads that are no daemons are waited for, functions registered with
    `atexit` are called, what was printed is flushed. A process without torch ends as usual.
    """
    if "torch" not in sys.modules:
        sys.exit(code)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # the reader has gone, or it was closed
                code = code or 120  # as Python's
        os._exit(code)


RARELY = 100_000  # objects that are made before the collector looks
USUALLY = gc.get_threshold()


def collect_rarely() -> None:
    """Let the garbage collector look less often, since importing torch makes a million objects that all stay."""
    gc.set_threshold(RARELY, 20, 100)


def keep_imported() -> None:
    """Exempt what has been imported from garbage collection, and collect as usual from now on."""
    if gc.get_threshold()[0] == RARELY:
        gc.freeze()
        gc.set_threshold(*USUALLY)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Context manager in which the garbage collector looks less often: a tenth of the time of drawing the figures."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

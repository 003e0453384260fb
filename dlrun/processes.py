"""What every process that dlrun starts needs: where it finds code, its variables, and an end with its parent."""

from __future__ import annotations

import os
import resource
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dlrun.package import PACKAGE

SAFE_PATH = "PYTHONSAFEPATH"
PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def safe_path() -> Iterator[dict[str, str | None]]:
    """Inside, Python processes that others start for us do not import from the working folder.

    Yields the variables that such a process sets back when it has begun: the programs of a user's component start
    as they always do.
    """
    before = {SAFE_PATH: os.environ.get(SAFE_PATH)}
    os.environ[SAFE_PATH] = "1"
    try:
        yield before
    finally:
        set_variables(before)


def set_variables(values: Mapping[str, str | None]) -> None:
    """Set variables of the environment; None takes one away."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def search_path() -> dict[str, str]:
    """`PYTHONPATH` for a process that must find this dlrun; nothing where Python finds it by itself."""
    folder = str(PACKAGE.parent)
    if folder in site.getsitepackages() or _found_by_python():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))}


@cache
def _found_by_python() -> bool:
    """Whether a process without this one's working folder and `sys.path` imports the same dlrun."""
    code = f"import {PACKAGE.name}; print({PACKAGE.name}.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()).resolve() == PACKAGE / "__init__.py"


def peak_mib(usage: resource.struct_rusage | None = None) -> float:
    """The most memory that a process has held: this one, or one whose end said so."""
    most = (usage or resource.getrusage(resource.RUSAGE_SELF)).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def die_with(parent: int) -> None:
    """End this process when its parent does, whatever it is doing then."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)

"""Deadlines that scale with the machine, so that a slow or busy one fails no test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

QUIET_SECONDS = 1.5  # to start Python and import torch, on the quiet machine that deadlines are written for


def deadline(seconds: float) -> float:
    """So many seconds of a quiet machine, as seconds of this one as it is now."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, start_seconds() / QUIET_SECONDS, busy)


@cache
def start_seconds() -> float:
    """Seconds that a Python process takes to import torch here; measured once."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-P", "-c", "import torch"], check=True)
    return time.monotonic() - started


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when the condition holds. Fails when it does not within a deadline of so many seconds."""
    until = time.monotonic() + deadline(seconds)
    while not condition():
        assert time.monotonic() < until, f"it did not come to pass within {deadline(seconds):.0f} s"
        time.sleep(0.02)

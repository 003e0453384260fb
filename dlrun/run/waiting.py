"""Do the threads of this process wait for processors that other processes keep busy? Linux alone tells."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MUCH = 0.4  # share of their time that threads wait for a processor, above which fewer are faster
TASKS = Path("/proc/self/task")


class ThreadTimes:
    """The times of this process's threads since this was made: computing, and waiting for a processor."""

    def __init__(self) -> None:
        self.begun = scheduled()

    def waiting(self) -> float:
        """The share of the time that threads waited while they could have computed; 0 where it is not known."""
        computed = waited = 0
        for thread, (on, off) in scheduled().items():
            on_before, off_before = self.begun.get(thread, (0, 0))
            computed += on - on_before
            waited += off - off_before
        return waited / (computed + waited) if computed + waited > 0 else 0.0


def scheduled() -> dict[str, tuple[int, int]]:
    """For each thread, nanoseconds on a processor and nanoseconds of waiting for one; empty where they are not told.

    https://docs.kernel.org/scheduler/sched-stats.html
    """
    times: dict[str, tuple[int, int]] = {}
    with suppress(OSError):
        for thread in os.listdir(TASKS):
            with suppress(OSError, ValueError):  # a thread may end meanwhile
                on, off, _ = map(int, (TASKS / thread / "schedstat").read_text().split())
                times[thread] = (on, off)
    return times

"""The interface of a source of jobs, and a list of jobs as the simplest one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.state import Record


class Source(Protocol):
    """Supplies the loop of a sweep with jobs: from a list, or from a search that proposes them."""

    @property
    def total(self) -> int:
        """How many jobs there will be."""

    def next(self) -> FrozenJob | None:
        """The next job to start, or None."""

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        """Take the metrics of a job's epoch. Returns whether the job is pruned."""

    def ended(self, job: FrozenJob, record: Record) -> None:
        """Take the final record of a job, whose state is `waiting` if it was stopped."""


class Jobs:
    """A list of jobs as a source."""

    def __init__(self, jobs: Iterable[FrozenJob]) -> None:
        self.jobs = list(jobs)
        self.total = len(self.jobs)

    def next(self) -> FrozenJob | None:
        return self.jobs.pop(0) if self.jobs else None

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        return False

    def ended(self, job: FrozenJob, record: Record) -> None: ...

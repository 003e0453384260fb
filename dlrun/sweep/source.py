"""Where the jobs of a sweep come from: what the loop asks, and a plain list as the simplest answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.state import Record


class Source(Protocol):
    """Where jobs come from: a list, or a search that thinks them up."""

    total: int

    def next(self) -> FrozenJob | None:
        """The next job to start; None when there is none at present."""

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        """An epoch of a job is done; True ends the job there (pruning)."""

    def ended(self, job: FrozenJob, record: Record) -> None:
        """A job has come to an end (or to a stop, when its state is `waiting`)."""


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

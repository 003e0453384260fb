"""The result and the epochs of a trial, read from the run directory, with signs such that less is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from dlrun.store.reader import StoredRun
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.state import DONE, state_of_job


def objective_value(run: StoredRun) -> float | None:
    """The best value of the monitored metric, negated if more is better; None if there is none."""
    value = run.best().get(run.monitor)
    return None if value is None else signed(value, run.mode)


def by_trial(jobs: Iterable[FrozenJob]) -> dict[int, list[FrozenJob]]:
    """The jobs of each trial, of which there is one for each seed."""
    found: dict[int, list[FrozenJob]] = {}
    for job in jobs:
        if job.trial is not None:
            found.setdefault(job.trial, []).append(job)
    return found


def read_trial(sweep: SweepDir, jobs: Sequence[FrozenJob]) -> tuple[str, float | None, dict[int, float]]:
    """The state of a trial, its objective value (the mean over its jobs), and the metric by epoch of a single job.

    In all values less is better.
    """
    runs = [StoredRun(sweep.run(job.slug).path) for job in jobs]
    states = [state_of_job(sweep, job).state for job in jobs]
    values = [objective_value(run) for run in runs]
    state = next((state for state in states if state not in DONE), states[0])
    found = [value for value in values if value is not None]
    if state in DONE and len(found) < len(values):
        state = "failed"
    value = fmean(found) if state in DONE else None
    return state, value, epochs_of(runs[0]) if len(runs) == 1 else {}


def epochs_of(run: StoredRun) -> dict[int, float]:
    """The monitored metric by epoch (less is better)."""
    rows = zip(run.metrics.get("epoch", []), run.metrics.get(run.monitor, []), strict=False)
    return {int(epoch): signed(number, run.mode) for epoch, number in rows if math.isfinite(number)}


def signed(value: float, mode: str) -> float:
    """The value, negated if more is better (mode "max")."""
    return -value if mode == "max" else value

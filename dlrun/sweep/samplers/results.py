"""The result and the epochs of a trial, read from the run directory, with signs such that less is better."""

from __future__ import annotations

import math

from dlrun.store.reader import StoredRun
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.state import DONE, state_of_job


def objective_value(run: StoredRun) -> float | None:
    """The best value of the monitored metric, negated if more is better; None if there is none."""
    value = run.best().get(run.monitor)
    return None if value is None else signed(value, run.mode)


def read_trial(sweep: SweepDir, job: FrozenJob) -> tuple[str, float | None, dict[int, float]]:
    """The state of a job, its objective value, and the values of the metric by epoch (less is better)."""
    run = StoredRun(sweep.run(job.slug).path)
    state, value = state_of_job(sweep, job).state, objective_value(run)
    if state in DONE and value is None:
        state = "failed"
    rows = zip(run.metrics.get("epoch", []), run.metrics.get(run.monitor, []), strict=False)
    epochs = {int(epoch): signed(number, run.mode) for epoch, number in rows if math.isfinite(number)}
    return state, value, epochs


def signed(value: float, mode: str) -> float:
    """The value, negated if more is better (mode "max")."""
    return -value if mode == "max" else value

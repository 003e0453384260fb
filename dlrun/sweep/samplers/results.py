"""What a job's files say of its trial: its result and its epochs, turned so that less is better."""

from __future__ import annotations

import math

from dlrun.store.reader import StoredRun
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.state import DONE, read_record, state_of_job


def objective_value(run: StoredRun) -> float | None:
    """The best value of the monitored metric, turned so that less is better."""
    value = run.best().get(run.monitor)
    return None if value is None else signed(value, run.mode)


def learnt(sweep: SweepDir, job: FrozenJob) -> tuple[str, float | None, dict[int, float]]:
    """What a job's files say of its trial: the state, the result, and the metric by epoch (less is better)."""
    run = StoredRun(sweep.run(job.slug).path)
    state, value = state_of_job(sweep, job, read_record(sweep, job.slug)).state, objective_value(run)
    if state in DONE and value is None:
        state = "failed"
    rows = zip(run.metrics.get("epoch", []), run.metrics.get(run.monitor, []), strict=False)
    epochs = {int(epoch): signed(number, run.mode) for epoch, number in rows if math.isfinite(number)}
    return state, value, epochs


def signed(value: float, mode: str) -> float:
    """The value turned so that less is better."""
    return -value if mode == "max" else value

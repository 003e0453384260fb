"""The metric that ranks the runs of a comparison, and remarks on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dlrun.report.curves import metric_names
from dlrun.report.jobs import ComparedRun
from dlrun.store.reader import StoredRun, component

TUNING_CHANCE = "intervals do not hold the chance in tuning: settings were chosen by one seed"


@dataclass(frozen=True)
class Ranking:
    """What runs are ranked by, and remarks on it.

    Args:
        metric: a column of metrics.csv, or that of the test result.
        mode: min or max.
        monitor: the metric that chose epochs: the ranked one, unless `by_test`.
        comparable: whether the metric means the same in all runs.
        notes: remarks.
        by_test: whether it is the test result of final runs, which the monitored metric chose.
        by_last: whether the value of the last epoch counts.
    """

    metric: str
    mode: str
    monitor: str
    comparable: bool
    notes: list[str]
    by_test: bool = False
    by_last: bool = False


def choose_ranking(jobs: Sequence[ComparedRun], workloads: int) -> Ranking:
    """What these runs are ranked by; runs of several workloads do not compare."""
    monitor, mode, notes, comparable = choose_metric(jobs)
    final = bool(jobs) and all(job.row.final for job in jobs)
    if workloads > 1:
        notes = [f"{workloads} workloads: no metric compares between them."]
        if final:
            how = "within each, runs are ranked by the test result of the epoch that validation chose"
            notes.append(f"{how}; {TUNING_CHANCE}.")
        return Ranking(monitor, mode, monitor, False, notes)
    if comparable and final:
        metric, mode, notes = test_metric(jobs, monitor, mode, notes)
        return Ranking(metric, mode, monitor, True, notes, by_test=True)
    return Ranking(monitor, mode, monitor, comparable, notes, by_last=has_training_alone(jobs, monitor))


def choose_metric(jobs: Sequence[ComparedRun]) -> tuple[str, str, list[str], bool]:
    """The metric that most runs monitored, min or max, remarks on it, and whether it means the same in all runs."""
    runs = [job.run for job in jobs if job.run.summary or job.run.metrics]
    metric = Counter(run.monitor for run in runs).most_common(1)[0][0] if runs else "val_loss"
    modes = {run.mode: None for run in runs if run.monitor == metric} or {"min": None}
    mode = next(iter(modes))
    notes = []
    comparable = True
    if len(modes) > 1:
        notes.append(f"some runs take less and some take more of {metric} for better: it does not rank them.")
        comparable = False
    if len({component(run.config, "dataset") for run in runs if run.config}) > 1:
        notes.append(f"the runs are on different data sets: {metric} does not compare between them.")
        comparable = False
    losses = {repr(run.config.get("loss")) for run in runs if run.config}
    if len(losses) > 1 and metric.endswith("_loss"):
        part = metric.split("_", 1)[0]
        shared = shared_metric(runs, part)
        if shared is not None:
            notes.append(
                f"the loss functions differ, so {metric} does not compare: ranked by {shared[0]}"
                " (at the epoch that each run chose by its own loss)."
            )
            metric, mode = shared
        else:
            notes.append(f"the loss functions differ: {metric} does not compare between them.")
            comparable = False
    return metric, mode, notes, comparable


def shared_metric(runs: Sequence[StoredRun], part: str) -> tuple[str, str] | None:
    """The first metric of a part that all runs have, and min or max; None if there is none on which they agree."""
    for name in metric_names(runs[0].metrics):
        column = f"{part}_{name}"
        ways = {run.direction(column) if column in run.metrics else None for run in runs}
        if len(ways) == 1 and (way := ways.pop()) is not None:
            return column, way
    return None


def test_metric(
    jobs: Sequence[ComparedRun], metric: str, mode: str, notes: Sequence[str]
) -> tuple[str, str, list[str]]:
    """The test metric of the checkpoint that validation chose, by which final runs are ranked, min or max, and remarks.

    Where a run has no test result, the monitored metric ranks.
    """
    own = metric.split("_", 1)[-1]
    known = [job.run for job in jobs if job.status == "finished"]
    if not known or not all(own in run.part("test") for run in known):
        return metric, mode, [*notes, f"ranked by {metric}, since there is no test part; {TUNING_CHANCE}."]
    how = f"ranked by test_{own} of the epoch that {metric} chose, measured once a run"
    way = next((way for run in known if (way := run.direction(f"test_{own}"))), mode)
    return f"test_{own}", way, [*notes, f"{how}; {TUNING_CHANCE}."]


def has_training_alone(jobs: Sequence[ComparedRun], metric: str) -> bool:
    """Whether the metric is of the training part, and no run has one of another part."""
    if not metric.startswith("train_") or any(job.run.part("test") for job in jobs):
        return False
    return not any(name.startswith(("val_", "test_")) for job in jobs for name in job.run.metrics)

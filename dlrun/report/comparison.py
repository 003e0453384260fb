"""A comparison of runs: the settings that differ, the groups over seeds, and the metric that ranks them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from dlrun.config.schema.schema import text_schema
from dlrun.config.schema.words import WORKLOAD, key_of, repeating_overrides
from dlrun.report import stats
from dlrun.report.chances import on_chances
from dlrun.report.intervals import MetricScale
from dlrun.report.jobs import FOLD, REPEATS, ComparedRun, short_names, varied_keys, with_equal_runs
from dlrun.report.origin import on_origin
from dlrun.report.pairs import NO_PAIRS, Pairs, compare_pairs
from dlrun.report.ranking import choose_ranking
from dlrun.report.remarks import REPEAT, remarks
from dlrun.report.tables import format_value, shorten
from dlrun.report.targets import Reached, first_reached
from dlrun.store.reader import StoredRun, best_row
from dlrun.store.scales import Bounds

BATCHES = ("trainer.batch_size", "trainer.shuffle", "trainer.max_batches", "trainer.overfit")
WEIGHTS = ("model", "init_from")  # sections from which the first weights follow


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    `keys` are the settings that differ (fold and seed last). `groups` are rows that differ only in these, best first by
    `metric`. `folder` is where results.csv and comparison.png were written, if they were. `comparable` is whether the
    metric means the same in all runs; otherwise there are no `pairs`. `by_last` is whether the runs are ranked by the
    last value of the metric, not by that of their best epoch. `monitor` is the metric that chose epochs, and whose
    target is reached: that of the ranking, unless final runs of a comparison with equal chances are ranked by the test
    part. `workloads` are the comparisons on each of several workloads, by name.
    """

    jobs: list[ComparedRun]
    keys: list[str]
    metric: str
    mode: str
    groups: list[stats.RunGroup]
    remarks: list[str]
    target: float | None = None
    folder: Path | None = None
    short: dict[str, str] = field(default_factory=dict)
    comparable: bool = True
    pairs: Pairs = NO_PAIRS
    by_last: bool = False
    monitor: str = ""
    workloads: tuple[tuple[str, Comparison], ...] = ()

    def label(self, group: stats.RunGroup) -> str:
        """A short name of a group: `adam lr=0.1`, or the name of the run if no setting differs."""
        words = []
        for key, value in group.keys.items():
            name = self.short.get(key, key)
            if value == "":  # other components have this key
                continue
            choice = isinstance(value, str) and "." not in name and not value.startswith(("[", "{"))
            text = shorten(format_value(value))
            words.append(text if choice else f"{name}={text}")
        run = group.rows[0].source.run
        return " ".join(words) or (run.name if len(group.rows) == 1 else run.title)

    def test_names(self) -> list[str]:
        """Up to two test metrics that get a column: that of the ranking, and the first other in order of preference."""
        return self._test_names

    @cached_property
    def _test_names(self) -> list[str]:
        names = {name for group in self.groups for row in group.rows for name in row.tests}
        own = self.metric.split("_", 1)[-1]
        order = [own, "accuracy", "r2", "macro_f1", "mae", "loss"]
        return [name for name in dict.fromkeys(order) if name in names and f"test_{name}" != self.metric][:2]

    def differences(self) -> list[str]:
        """A line for each key that differs, with its values."""
        lines = []
        for key in self.keys:
            values = list(dict.fromkeys(shorten(format_value(job.setting(key))) for job in self.jobs))
            more = f", ... ({len(values)} values)" if len(values) > 8 else ""
            lines.append(f"{key}: {', '.join(values[:8])}{more}")
        return lines


def compare_jobs(jobs: list[ComparedRun], target: float | None = None) -> Comparison:
    """Group the jobs by the settings that differ and rank the groups; `target` defaults to their `sweep.target`."""
    parts = by_workload(jobs)
    jobs = with_equal_runs(jobs)
    keys = varied_keys(jobs)
    by = choose_ranking(jobs, len(parts))
    metric, mode, notes, comparable = by.metric, by.mode, by.notes, by.comparable
    if target is None:
        target = next(
            (value for job in jobs if isinstance(value := job.run.flat.get("sweep.target"), int | float)), None
        )
    folds = {value for job in jobs if isinstance(value := job.setting(FOLD), int)}
    shared = {id(first): _shared(first) for job in jobs for first in [job.like or job] if first is job}
    rows = [
        _row(job, keys, metric, mode, (by.monitor, target), in_folds=len(folds) > 1, by_last=by.by_last,
             shared=shared[id(job.like or job)])
        for job in jobs
    ]  # fmt: skip
    ranked = stats.rank(stats.group(rows, _scales(jobs, rows, metric, mode)), mode)
    pairs = compare_pairs(ranked) if comparable else NO_PAIRS
    comparison = Comparison(
        jobs, keys, metric, mode, ranked, [], target, short=short_names(keys), comparable=comparable, pairs=pairs,
        by_last=by.by_last, monitor=by.monitor,
        workloads=tuple((name, compare_jobs(some)) for name, some in parts.items()) if len(parts) > 1 else (),
    )  # fmt: skip
    again = stats.count_repeated(rows)
    if again:
        repeated = "the settings, the fold and the seed" if len(folds) > 1 else "the settings and the seed"
        notes.append(f"{again} run(s) repeat {repeated} of another: only the newest counts.")
    notes += [text for text in [on_origin(jobs)] if text]
    grid = not by.by_test and all(job.run.flat.get("sweep.search", "grid") == "grid" for job in jobs)
    chances = on_chances(jobs, keys) if grid and comparable else ""
    found = remarks(
        ranked, metric, mode, comparison.label, None if len(parts) > 1 else target, grid=grid, comparable=comparable,
        pairs=pairs, notes=notes, by_last=by.by_last, monitor=by.monitor, by_test=by.by_test,
        repeat=REPEAT if grid else repeat_alone(ranked),
    )  # fmt: skip
    return replace(comparison, remarks=[*([chances] if chances else []), *found])


def by_workload(jobs: Sequence[ComparedRun]) -> dict[str, list[ComparedRun]]:
    """The jobs of each workload, of which each has one comparison; none where the jobs name no workload."""
    found: dict[str, list[ComparedRun]] = {}
    for job in jobs:
        name = job.row.keys.get(WORKLOAD) or job.run.flat.get(WORKLOAD)
        if name:
            keys = {key: value for key, value in job.row.keys.items() if key != WORKLOAD}
            found.setdefault(str(name), []).append(ComparedRun(replace(job.row, keys=keys), job.run))
    return found


def _scales(
    jobs: Sequence[ComparedRun], rows: Sequence[stats.PairRow], metric: str, mode: str
) -> dict[str | None, MetricScale]:
    """Which way the ranked metric (None) and those of the test part are better, and their bounds."""
    runs = [job.run for job in jobs if job.run.summary or job.run.metrics]
    if not runs:
        return {None: MetricScale(mode)}
    scales: dict[str | None, MetricScale] = {None: MetricScale(mode, *_bounds(runs, metric))}
    for name in dict.fromkeys(name for row in rows for name in row.tests):
        way = next((way for run in runs if (way := run.direction(f"test_{name}"))), "min")
        scales[name] = MetricScale(way, *_bounds(runs, f"test_{name}"))
    return scales


def _bounds(runs: Sequence[StoredRun], column: str) -> Bounds:
    """The bounds of a column on which all runs agree."""
    found = {run.bounds(column) for run in runs}
    return found.pop() if len(found) == 1 else (None, None)


def repeat_alone(ranked: Sequence[stats.RunGroup]) -> str:
    """The command that repeats the best setting of a search alone: in the search, the seed would be searched, too."""
    words = shlex.split(ranked[0].rows[0].source.command)[1:] if ranked else []
    if not words:
        return "repeat the best setting alone with seed=0,1,2"
    kept = [word for word in repeating_overrides(words, text_schema()) if key_of(word) != "seed"]
    return f"repeat the best with `{shlex.join(['dlrun', '-m', *kept, 'seed=0,1,2'])}`"


def _fold(job: ComparedRun, metric: str) -> stats.Fold | None:
    """The fold of a run, if it has one, with how many rows of each part there are to a row of training."""
    number, count = job.setting(FOLD), job.setting("dataset.folds")
    if not isinstance(number, int):
        return None
    rows = job.run.part("counts")
    used = {part: rows.get(f"{part}_used", rows.get(part, 0.0)) for part in ("train", "val", "test")}
    ratios = {part: value / used["train"] for part, value in used.items() if used["train"]}
    return stats.Fold(number, count if isinstance(count, int) else None, ratios, metric.split("_", 1)[0])


def _row(
    job: ComparedRun, keys: Sequence[str], metric: str, mode: str, goal: tuple[str, float | None], *, in_folds: bool,
    by_last: bool, shared: tuple[str, str],
) -> stats.PairRow:  # fmt: skip
    run, (monitor, target) = job.run, goal
    best = run.best()  # the epoch of best.pt and of the test result, whatever metric selected it
    if metric not in best:
        best = best_row(run.metrics, metric, mode)
    data, model = shared
    return stats.PairRow(
        keys={key: job.setting(key) for key in keys if key not in REPEATS},
        seed=job.setting("seed"),
        fold=_fold(job, metric) if in_folds else None,
        value=_value(run, metric, monitor, best, by_last=by_last),
        best=best.get(metric) if by_last else None,
        tests=run.part("test"),
        status=job.status,
        diverged=job.diverged,
        seconds=run.seconds,
        reached=None if target is None else _reached(run, monitor, run.direction(monitor) or mode, target),
        source=job,
        began=bool(run.config),
        data=data,
        model=model,
    )


def _value(run: StoredRun, metric: str, monitor: str, best: Mapping[str, float], *, by_last: bool) -> float | None:
    """The ranked value: that of the test result, of the last epoch or of the best one."""
    if metric != monitor:
        return run.part("test").get(metric.split("_", 1)[-1])
    return run.last().get(metric) if by_last else best.get(metric)


def _shared(job: ComparedRun) -> tuple[str, str]:
    """The settings that runs of one seed share split and batches by, and those that they share the first weights by."""
    schema, settings = text_schema(), job.settings
    data = {
        key: value for key, value in settings.items()
        if key not in REPEATS and (key in BATCHES or key.startswith("dataset.")) and schema.effect(key).changes_result
    }  # fmt: skip
    model = {key: value for key, value in settings.items() if key.partition(".")[0] in WEIGHTS}
    return stats.frozen(data), stats.frozen(model)


def _reached(run: StoredRun, metric: str, mode: str, target: float) -> Reached | None:
    """When the run first reached the target."""
    counts = run.part("counts")
    rows = counts.get("train_used", counts.get("train", 0.0))
    batch, batches = run.flat.get("trainer.batch_size"), run.flat.get("trainer.accumulate", 1)
    one = rows if batch == "full" else batch if isinstance(batch, int) else 0
    sizes = {"rows": rows, "batch": one * (batches if isinstance(batches, int) else 1)}
    return first_reached(run.metrics, run.steps if metric == "train_loss" else {}, metric, mode, target, sizes)

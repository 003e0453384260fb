"""The rows of a comparison, and groups of them: rows that differ only in seed and fold form a group.

A run that diverged or failed to finish is lost: it counts as worse than every other, so that its group is summed up by
a median. Intervals are those of `intervals`, tests those of `pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dlrun.report.intervals import ConfidenceInterval, MetricScale, fold_interval, interval, mean_of, median_of
from dlrun.report.targets import Reached, TargetTimes, sum_up

LOST = ("failed", "dead", "pruned")  # states in which a run has ended without a result
SCALE = MetricScale()


@dataclass(frozen=True)
class Fold:
    """The fold that a run was tested on: its number, how many there are, and for each part its rows per training row.

    `measured` is the part that the ranked metric is measured on.
    """

    number: int
    count: int | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    measured: str = "val"


@dataclass(frozen=True)
class PairRow:
    """One run in a comparison.

    Args:
        keys: the settings that were varied, without those that repeat a run (seed, fold).
        value: the ranked metric: at the best epoch, or at the last where there is a training loss alone.
        best: the best value, where the ranked one is the last.
        tests: the test metrics.
        reached: when the target was first reached.
        source: the object that the row was made from, for the caller.
        began: whether training has begun, which it does not with an invalid value.
        fold: the fold, if the runs of the comparison are of several folds.
        data: the settings of data and batches; where they are equal, runs of one seed share split and batches.
        model: the settings of the weights; where they are equal, too, runs of one seed begin with the same ones.
    """

    keys: Mapping[str, Any]
    seed: Any = None
    value: float | None = None
    tests: Mapping[str, float] = field(default_factory=dict)
    status: str = "finished"
    diverged: bool = False
    seconds: float | None = None
    reached: Reached | None = None
    source: Any = None
    began: bool = True
    fold: Fold | None = None
    best: float | None = None
    data: str = ""
    model: str = ""

    @property
    def counts(self) -> bool:
        """Whether the run has a result."""
        return self.status == "finished" and self.value is not None

    @property
    def lost(self) -> bool:
        """Whether the run ended without a result after training had begun, so that it loses to every other."""
        return self.status in LOST and self.began

    @property
    def repeat(self) -> tuple[Any, int | None] | None:
        """Seed and fold, which a run shares with its pair; None where the seed is not known."""
        return None if self.seed in (None, "") else (self.seed, self.fold.number if self.fold else None)


@dataclass(frozen=True)
class RunGroup:
    """Rows that differ only in seed and fold; see `group`. `scales` are those of test metrics, and of the ranked one by
    the name None.
    """

    keys: Mapping[str, Any]
    rows: tuple[PairRow, ...]
    scales: Mapping[str | None, MetricScale] = field(default_factory=dict)

    @cached_property
    def counted(self) -> list[PairRow]:
        return [row for row in self.rows if row.counts]

    @property
    def lost(self) -> list[PairRow]:
        return [row for row in self.rows if row.lost]

    @cached_property
    def value(self) -> ConfidenceInterval | None:
        """The interval of the ranked metric; None if no run has a result, or half of them or more were lost."""
        return self._interval(None)

    @property
    def best(self) -> ConfidenceInterval | None:
        """That of the best values, where the ranked ones are the last."""
        return interval([row.best for row in self.counted if row.best is not None])

    @cached_property
    def folds(self) -> list[int]:
        """The folds that have a result; none if the runs are not of several folds."""
        return sorted({row.fold.number for row in self.counted if row.fold is not None})

    def fold_means(self, name: str | None = None) -> dict[int, float]:
        """By fold, the mean over seeds of a test metric, or of the ranked metric."""
        found: dict[int, list[float]] = {}
        for row in self.counted:
            if row.fold is not None and (value := measured(row, name)) is not None:
                found.setdefault(row.fold.number, []).append(value)
        return {number: mean_of(values) for number, values in sorted(found.items())}

    def ratio(self, name: str | None = None) -> float | None:
        """Rows that a test metric (or the ranked metric) is measured on, per training row; the mean over the runs."""
        folds = [row.fold for row in self.counted if row.fold is not None]
        known = [fold.ratios.get("test" if name else fold.measured) for fold in folds]
        return mean_of([ratio for ratio in known if ratio]) if any(known) else None

    def _interval(self, name: str | None) -> ConfidenceInterval | None:
        scale = self.scales.get(name, SCALE)
        values = [value for row in self.counted if (value := measured(row, name)) is not None]
        if not values:
            return None
        if self.lost:
            center = median_of([*values, *(scale.worst for _ in self.lost)])
            return ConfidenceInterval(len(values), center, is_median=True) if math.isfinite(center) else None
        means = list(self.fold_means(name).values())
        found = fold_interval(means, self.ratio(name)) if self.folds else interval(values)
        return found.cut(scale) if found and scale.holds(values) else found

    @property
    def diverged(self) -> int:
        return sum(row.diverged for row in self.rows)

    @property
    def seconds(self) -> float | None:
        found = interval([row.seconds for row in self.counted if row.seconds is not None])
        return found.center if found else None

    def test(self, name: str) -> ConfidenceInterval | None:
        """The interval of one test metric."""
        return self._interval(name)

    @property
    def reached(self) -> TargetTimes | None:
        """When the target was reached; None if no run has ended or reached it."""
        ended = [row for row in self.rows if row.counts or row.lost or row.reached is not None]
        return sum_up([row.reached for row in ended]) if ended else None


def measured(row: PairRow, name: str | None) -> float | None:
    """A test metric of a row, or the ranked metric."""
    return row.value if name is None else row.tests.get(name)


def group(rows: Sequence[PairRow], scales: Mapping[str | None, MetricScale] | None = None) -> list[RunGroup]:
    """Group rows by their keys, in order of appearance.

    Of rows with the same seed and fold only one is kept: the last one with a result.
    """
    found: dict[str, list[PairRow]] = {}
    for row in rows:
        found.setdefault(frozen(row.keys), []).append(row)
    return [RunGroup(some[0].keys, tuple(_latest(some)), scales or {}) for some in found.values()]


def count_repeated(rows: Sequence[PairRow]) -> int:
    """The number of rows that `group` drops because another row has the same settings, seed and fold."""
    return len(rows) - sum(len(one.rows) for one in group(rows))


def _latest(rows: Sequence[PairRow]) -> list[PairRow]:
    kept: dict[str, PairRow] = {}
    for number, row in enumerate(rows):
        ended = (row.counts or row.lost) and row.repeat is not None
        key = repr(row.repeat) if ended else f"row {number}"
        if row.counts or not (key in kept and kept[key].counts):
            kept[key] = row
    return list(kept.values())


def frozen(keys: Mapping[str, Any]) -> str:
    """Keys and values as one text, which is the same for 1 and 1.0 and differs for 1 and True."""
    return repr(sorted((key, repr(float(value) if is_number(value) else value)) for key, value in keys.items()))


def rank(groups: Sequence[RunGroup], mode: str) -> list[RunGroup]:
    """Best mean (or median) first; groups without a value last."""
    sign = -1 if mode == "max" else 1

    def order(one: RunGroup) -> tuple[bool, float]:
        return one.value is None, sign * one.value.center if one.value else 0.0

    return sorted(groups, key=order)


def is_number(value: object) -> bool:
    """Whether a setting is a number (True and False are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def partition(groups: Sequence[RunGroup], by: Callable[[RunGroup], Any]) -> list[list[RunGroup]]:
    """Lists of groups with equal `by(group)`, in order of appearance."""
    found: dict[str, list[RunGroup]] = {}
    for one in groups:
        found.setdefault(repr(by(one)), []).append(one)
    return list(found.values())

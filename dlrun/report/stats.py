"""Statistics of a comparison, as pure functions of rows. Rows that differ only in seed and fold form a group.

The interval is Student's t for the mean of n independent runs (Student 1908, "The probable error of a mean"):
mean ± t(0.975, n - 1) * s / sqrt(n), with s the sample standard deviation.

The k folds of a cross-validation share training rows, so their results are not independent. Seeds are averaged within
each fold first, and the interval over the folds' means is that of Nadeau and Bengio 2003, "Inference for the
generalization error": mean ± t(0.975, k - 1) * s * sqrt(1 / k + n_test / n_train).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LEAST_FOLDS = 3  # with fewer there is no interval


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
        value: the monitored metric at the best epoch.
        tests: the test metrics.
        reached: (epochs, seconds) until the target was first reached.
        source: the object that the row was made from, for the caller.
        began: whether training has begun, which it does not with an invalid value.
        fold: the fold, if the runs of the comparison are of several folds.
    """

    keys: Mapping[str, Any]
    seed: Any = None
    value: float | None = None
    tests: Mapping[str, float] = field(default_factory=dict)
    status: str = "finished"
    diverged: bool = False
    seconds: float | None = None
    reached: tuple[float, float] | None = None
    source: Any = None
    began: bool = True
    fold: Fold | None = None

    @property
    def counts(self) -> bool:
        """Whether the run enters the statistics, as only finished runs do."""
        return self.status == "finished" and self.value is not None


@dataclass(frozen=True)
class ConfidenceInterval:
    """Mean, sample standard deviation and 95 % confidence interval of n values (None for one value)."""

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None

    def overlaps(self, other: ConfidenceInterval) -> bool:
        """Whether two intervals overlap (False if either is unknown)."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class RunGroup:
    """Rows that differ only in seed and fold; see `group`."""

    keys: Mapping[str, Any]
    rows: tuple[PairRow, ...]

    @property
    def counted(self) -> list[PairRow]:
        return [row for row in self.rows if row.counts]

    @property
    def value(self) -> ConfidenceInterval | None:
        """The interval of the ranked metric."""
        return self._interval(None)

    @property
    def folds(self) -> list[int]:
        """The folds that have a result; none if the runs are not of several folds."""
        return sorted({row.fold.number for row in self.counted if row.fold is not None})

    def fold_means(self, name: str | None = None) -> dict[int, float]:
        """By fold, the mean over seeds of a test metric, or of the ranked metric."""
        found: dict[int, list[float]] = {}
        for row in self.counted:
            if row.fold is not None and (value := _measured(row, name)) is not None:
                found.setdefault(row.fold.number, []).append(value)
        return {number: _mean(values) for number, values in sorted(found.items())}

    def ratio(self, name: str | None = None) -> float | None:
        """Rows that a test metric (or the ranked metric) is measured on, per training row; the mean over the runs."""
        folds = [row.fold for row in self.counted if row.fold is not None]
        known = [fold.ratios.get("test" if name else fold.measured) for fold in folds]
        return _mean([ratio for ratio in known if ratio]) if any(known) else None

    def _interval(self, name: str | None) -> ConfidenceInterval | None:
        if self.folds:
            return fold_interval(list(self.fold_means(name).values()), self.ratio(name))
        values = [_measured(row, name) for row in self.counted]
        return interval([value for value in values if value is not None])

    @property
    def diverged(self) -> int:
        return sum(row.diverged for row in self.rows)

    @property
    def seconds(self) -> float | None:
        found = interval([row.seconds for row in self.counted if row.seconds is not None])
        return found.mean if found else None

    def test(self, name: str) -> ConfidenceInterval | None:
        """The interval of one test metric."""
        return self._interval(name)

    @property
    def reached(self) -> tuple[int, float, float] | None:
        """How many runs reached the target, and their mean epochs and seconds until then."""
        times = [row.reached for row in self.rows if row.reached is not None]
        if not times:
            return None
        return len(times), _mean([epochs for epochs, _ in times]), _mean([seconds for _, seconds in times])


def interval(values: Sequence[float], level: float = 0.95) -> ConfidenceInterval | None:
    """Mean, standard deviation and t interval of some values; None for none."""
    n = len(values)
    if n == 0:
        return None
    mean = _mean(values)
    if n == 1:
        return ConfidenceInterval(1, mean)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_t(0.5 + level / 2, n - 1) * std / math.sqrt(n)
    return ConfidenceInterval(n, mean, std, mean - half, mean + half)


def fold_interval(means: Sequence[float], ratio: float | None, level: float = 0.95) -> ConfidenceInterval | None:
    """The mean of the folds' means with the interval of Nadeau and Bengio; None for no fold.

    `ratio` is n_test / n_train. Without it, and with fewer than `LEAST_FOLDS` folds, there is no interval.
    """
    plain = interval(means, level)
    if plain is None or plain.std is None:
        return plain
    if ratio is None or plain.n < LEAST_FOLDS:
        return ConfidenceInterval(plain.n, plain.mean, plain.std)
    half = student_t(0.5 + level / 2, plain.n - 1) * plain.std * math.sqrt(1 / plain.n + ratio)
    return ConfidenceInterval(plain.n, plain.mean, plain.std, plain.mean - half, plain.mean + half)


def difference(one: RunGroup, other: RunGroup, name: str | None = None) -> ConfidenceInterval | None:
    """The interval of `one` minus `other` over the folds that both have, of a test metric or the ranked metric."""
    mine, theirs = one.fold_means(name), other.fold_means(name)
    return fold_interval([mine[fold] - theirs[fold] for fold in mine if fold in theirs], one.ratio(name))


def _measured(row: PairRow, name: str | None) -> float | None:
    return row.value if name is None else row.tests.get(name)


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def group(rows: Sequence[PairRow]) -> list[RunGroup]:
    """Group rows by their keys, in order of appearance.

    Of finished rows with the same seed and fold, only the last is kept.
    """
    found: dict[str, list[PairRow]] = {}
    for row in rows:
        found.setdefault(frozen(row.keys), []).append(row)
    return [RunGroup(some[0].keys, tuple(_latest(some))) for some in found.values()]


def count_repeated(rows: Sequence[PairRow]) -> int:
    """The number of rows that `group` drops because a later row has the same settings, seed and fold."""
    return len(rows) - sum(len(one.rows) for one in group(rows))


def _latest(rows: Sequence[PairRow]) -> list[PairRow]:
    kept: dict[str, PairRow] = {}
    for number, row in enumerate(rows):
        repeat = (row.seed, row.fold and row.fold.number)
        key = repr(repeat) if row.counts and row.seed is not None else f"row {number}"
        kept[key] = row
    return list(kept.values())


def frozen(keys: Mapping[str, Any]) -> str:
    """Keys and values as one text, which is the same for 1 and 1.0 and differs for 1 and True."""
    return repr(sorted((key, repr(float(value) if is_number(value) else value)) for key, value in keys.items()))


def rank(groups: Sequence[RunGroup], mode: str) -> list[RunGroup]:
    """Best mean first; groups without a value last."""
    sign = -1 if mode == "max" else 1

    def order(one: RunGroup) -> tuple[bool, float]:
        return one.value is None, sign * one.value.mean if one.value else 0.0

    return sorted(groups, key=order)


def time_to_target(
    epochs: Sequence[float], seconds: Sequence[float], values: Sequence[float], mode: str, target: float
) -> tuple[float, float] | None:
    """(epoch, seconds since the start) of the first epoch whose value reaches the target.

    Args:
        epochs: epoch numbers.
        seconds: seconds of each epoch (nan counts as none).
        values: the metric of each epoch, nan where it was not evaluated.
        mode: min or max.
        target: the value to reach.
    """
    spent = 0.0
    for epoch, took, value in zip(epochs, seconds, values, strict=False):
        spent += took if math.isfinite(took) else 0.0
        if math.isfinite(value) and (value >= target if mode == "max" else value <= target):
            return epoch, spent
    return None


def is_number(value: object) -> bool:
    """Whether a setting is a number (True and False are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def partition(groups: Sequence[RunGroup], by: Callable[[RunGroup], Any]) -> list[list[RunGroup]]:
    """Lists of groups with equal `by(group)`, in order of appearance."""
    found: dict[str, list[RunGroup]] = {}
    for one in groups:
        found.setdefault(repr(by(one)), []).append(one)
    return list(found.values())

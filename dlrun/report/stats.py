"""Statistics of a comparison, as pure functions of rows. Rows that differ only in the seed form a group.

The interval is Student's t for the mean of n independent runs (Student 1908, "The probable error of a mean"):
mean ± t(0.975, n - 1) * s / sqrt(n), with s the sample standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PairRow:
    """One run in a comparison.

    Args:
        keys: the settings that were varied, without the seed.
        value: the monitored metric at the best epoch.
        tests: the test metrics.
        reached: (epochs, seconds) until the target was first reached.
        source: the object that the row was made from, for the caller.
        began: whether training has begun, which it does not with an invalid value.
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
    """Rows that differ only in the seed; see `group`."""

    keys: Mapping[str, Any]
    rows: tuple[PairRow, ...]

    @property
    def counted(self) -> list[PairRow]:
        return [row for row in self.rows if row.counts]

    @property
    def value(self) -> ConfidenceInterval | None:
        return interval([row.value for row in self.counted if row.value is not None])

    @property
    def diverged(self) -> int:
        return sum(row.diverged for row in self.rows)

    @property
    def seconds(self) -> float | None:
        found = interval([row.seconds for row in self.counted if row.seconds is not None])
        return found.mean if found else None

    def test(self, name: str) -> ConfidenceInterval | None:
        """The interval of one test metric."""
        return interval([row.tests[name] for row in self.counted if name in row.tests])

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


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def group(rows: Sequence[PairRow]) -> list[RunGroup]:
    """Group rows by their keys, in order of appearance. Of finished rows with the same seed, only the last is kept."""
    found: dict[str, list[PairRow]] = {}
    for row in rows:
        found.setdefault(frozen(row.keys), []).append(row)
    return [RunGroup(some[0].keys, tuple(_latest(some))) for some in found.values()]


def count_repeated(rows: Sequence[PairRow]) -> int:
    """The number of rows that `group` drops because a later row has the same settings and seed."""
    return len(rows) - sum(len(one.rows) for one in group(rows))


def _latest(rows: Sequence[PairRow]) -> list[PairRow]:
    kept: dict[str, PairRow] = {}
    for number, row in enumerate(rows):
        key = repr(row.seed) if row.counts and row.seed is not None else f"row {number}"
        kept[key] = row
    return list(kept.values())


def frozen(keys: Mapping[str, Any]) -> str:
    """Keys and values as one text, which is the same for 1 and 1.0 and differs for 1 and True."""
    return repr(sorted((key, repr(float(value) if numeric(value) else value)) for key, value in keys.items()))


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


def numeric(value: object) -> bool:
    """Whether a setting is a number (True and False are not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def partition(groups: Sequence[RunGroup], by: Callable[[RunGroup], Any]) -> list[list[RunGroup]]:
    """Lists of groups with equal `by(group)`, in order of appearance."""
    found: dict[str, list[RunGroup]] = {}
    for one in groups:
        found.setdefault(repr(by(one)), []).append(one)
    return list(found.values())

"""Intervals for means: of independent runs, and of the folds of a cross-validation.

The interval is Student's t for the mean of n independent runs (Student 1908, "The probable error of a mean"):
mean ± t(0.975, n - 1) * s / sqrt(n), with s the sample standard deviation.

The k folds of a cross-validation share training rows, so their results are not independent. Seeds are averaged within
each fold first, and the interval over the folds' means is that of Nadeau and Bengio 2003, "Inference for the
generalization error": mean ± t(0.975, k - 1) * s * sqrt(1 / k + n_test / n_train).

Both are cut at the values that the metric cannot exceed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

LEAST_FOLDS = 3  # with fewer there is no interval
LEVEL = 0.95


@dataclass(frozen=True)
class MetricScale:
    """Which way a metric is better (`min`, `max`), and the least and largest value that it can have."""

    better: str = "min"
    least: float | None = None
    largest: float | None = None

    @property
    def worst(self) -> float:
        """What a run without a result counts as where values are put in order."""
        return -math.inf if self.better == "max" else math.inf

    def holds(self, values: Sequence[float]) -> bool:
        """Whether all values lie within the bounds, as they do unless these are declared wrongly."""
        return all(
            (self.least is None or self.least <= value) and (self.largest is None or value <= self.largest)
            for value in values
        )


@dataclass(frozen=True)
class ConfidenceInterval:
    """The center of n values, their sample standard deviation and 95 % confidence interval (None for one value).

    The center is the mean; where runs were lost it is the median, which has neither deviation nor interval.
    """

    n: int
    center: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    is_median: bool = False

    def cut(self, scale: MetricScale) -> ConfidenceInterval:
        """The interval without what lies beyond the bounds of the metric."""
        if self.low is None or self.high is None:
            return self
        low = self.low if scale.least is None else max(self.low, scale.least)
        high = self.high if scale.largest is None else min(self.high, scale.largest)
        return replace(self, low=low, high=high)


def interval(values: Sequence[float], level: float = LEVEL) -> ConfidenceInterval | None:
    """Mean, standard deviation and t interval of some values; None for none."""
    n = len(values)
    if n == 0:
        return None
    center = mean_of(values)
    if n == 1:
        return ConfidenceInterval(1, center)
    std = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (n - 1))
    half = student_t(0.5 + level / 2, n - 1) * std / math.sqrt(n)
    return ConfidenceInterval(n, center, std, center - half, center + half)


def fold_interval(means: Sequence[float], ratio: float | None, level: float = LEVEL) -> ConfidenceInterval | None:
    """The mean of the folds' means with the interval of Nadeau and Bengio; None for no fold.

    `ratio` is n_test / n_train. Without it, and with fewer than `LEAST_FOLDS` folds, there is no interval.
    """
    plain = interval(means, level)
    if plain is None or plain.std is None:
        return plain
    if ratio is None or plain.n < LEAST_FOLDS:
        return ConfidenceInterval(plain.n, plain.center, plain.std)
    half = student_t(0.5 + level / 2, plain.n - 1) * plain.std * math.sqrt(1 / plain.n + ratio)
    return ConfidenceInterval(plain.n, plain.center, plain.std, plain.center - half, plain.center + half)


@lru_cache(maxsize=1024)
def student_t(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def median_of(values: Sequence[float]) -> float:
    """The median of values that may be infinite: that of two infinite ones, or of one beside a finite one, is."""
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2 or ordered[half - 1] == ordered[half]:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2

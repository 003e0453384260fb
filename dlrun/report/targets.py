"""Time to a target: when a run first reached a value of the metric, and the median over runs.

A run that missed the target counts as infinitely late. The median of n runs is the ceil(n / 2)-th earliest, so that it
is reached by half of them at least.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlrun.store.reading import Columns


@dataclass(frozen=True)
class Reached:
    """When a target was first reached: optimizer steps, samples and seconds since the start; None if not known."""

    steps: float | None
    samples: float | None
    seconds: float | None


@dataclass(frozen=True)
class TargetTimes:
    """How many of n runs reached a target, and the median of each unit; None where it was not reached by half."""

    n: int
    count: int
    median: Reached | None

    @property
    def share(self) -> float:
        return self.count / self.n


def sum_up(times: Sequence[Reached | None]) -> TargetTimes:
    """The median of each unit over runs, of which those that missed the target are None."""
    count, place = sum(time is not None for time in times), math.ceil(len(times) / 2)
    if count < place or not times:
        return TargetTimes(len(times), count, None)
    reached = [time for time in times if time is not None]

    def at_half(values: Sequence[float | None]) -> float | None:
        known = sorted(value for value in values if value is not None)
        return known[place - 1] if len(known) == len(values) else None

    steps, samples, seconds = ([getattr(time, unit) for time in reached] for unit in ("steps", "samples", "seconds"))
    return TargetTimes(len(times), count, Reached(at_half(steps), at_half(samples), at_half(seconds)))


def first_reached(
    metrics: Columns, steps: Columns, metric: str, mode: str, target: float, sizes: Mapping[str, float]
) -> Reached | None:
    """When a run first reached the target, or None.

    Args:
        metrics: the columns of metrics.csv, whose evaluations end epochs.
        steps: the columns of steps.csv, in which a training loss is looked for.
        metric: a column of metrics.csv.
        mode: min or max.
        target: the value to reach.
        sizes: `rows` of training in an epoch and `batch` samples of a step, as far as they are known.
    """
    ends = metrics.get("step", [])
    looked: list[tuple[float, float]] = list(zip(ends, metrics.get(metric, []), strict=False))
    if metric == "train_loss" and steps.get("loss"):
        looked = list(zip(steps.get("step", []), steps["loss"], strict=False))
    for step, value in looked:
        if math.isfinite(value) and (value >= target if mode == "max" else value <= target):
            known = step if math.isfinite(step) else None
            return Reached(known, _samples(known, ends, sizes), _seconds(known, ends, metrics.get("epoch_seconds", [])))
    return None


def _epoch_of(step: float, ends: Sequence[float]) -> tuple[int, float]:
    """The number of whole epochs before a step, and the share of the next one that is done with it."""
    whole = bisect_left(ends, step)
    begin = ends[whole - 1] if whole else 0.0
    if whole == len(ends):
        return whole, 0.0
    return whole, (step - begin) / (ends[whole] - begin)


def _samples(step: float | None, ends: Sequence[float], sizes: Mapping[str, float]) -> float | None:
    """Samples that were trained on until the end of a step, of which the last of an epoch may be smaller."""
    rows, batch = sizes.get("rows"), sizes.get("batch")
    if step is None or not rows or not batch:
        return None
    if not ends or any(not math.isfinite(end) for end in ends):
        return step * batch
    whole, _ = _epoch_of(step, ends)
    begin = ends[whole - 1] if whole else 0.0
    return whole * rows + min(rows, (step - begin) * batch)


def _seconds(step: float | None, ends: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Seconds of training until the end of a step, of which those of its epoch are shared out evenly."""
    if step is None or not seconds or any(not math.isfinite(end) for end in ends):
        return None
    whole, share = _epoch_of(step, ends)
    spent = [took if math.isfinite(took) else 0.0 for took in seconds]
    return math.fsum(spent[:whole]) + (share * spent[whole] if whole < len(spent) else 0.0)

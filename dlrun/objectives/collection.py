"""The metric of a task and those of a user, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import ConfigError, Problem
from dlrun.objectives.declared import bounds, directions
from dlrun.objectives.metrics import float_type
from dlrun.spec import TaskMetric


class MetricCollection:
    """The metric of the task and those of a user, evaluated side by side; training counts the first alone."""

    def __init__(self, main: TaskMetric, users: Sequence[Any]) -> None:
        self.metrics = (main, *users)
        self.names = tuple(name for metric in self.metrics for name in metric.names)
        twice = sorted({name for name in self.names if ("loss", *self.names).count(name) > 1})
        if twice:
            raise ConfigError(Problem("metric", f"two metrics are named {twice[0]!r}."))
        self.better = {name: way for metric in self.metrics for name, way in directions(metric).items()}
        del self.better["loss"]
        self.bounds = {name: pair for metric in self.metrics for name, pair in bounds(metric, None).items()}
        self.countable, self.train_names = main.countable, main.train_names
        self.train_counts, self.train_result = main.train_counts, main.train_result
        self.train_merge = getattr(main, "train_merge", add)
        self.sizes: list[int] = []

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """All counts in one row, in float64, which holds integers exactly up to 2^53; row weights are the first's."""
        main, *users = self.metrics
        counts = main.counts(output, target) if weight is None else main.counts(output, target, weight)
        rows = [counts.flatten(), *(metric.counts(output, target).flatten() for metric in users)]
        self.sizes = [row.numel() for row in rows]
        return torch.cat([row.to(float_type(row)) for row in rows])

    def result(self, counts: Tensor) -> dict[str, float]:
        """The results of all metrics by name."""
        parts = zip(self.metrics, counts.split(self.sizes), strict=True)
        return {name: float(value) for metric, part in parts for name, value in metric.result(part).items()}

    def merge(self, some: Sequence[float], more: Sequence[float]) -> list[float]:
        """Merge the counts of all metrics, each in its own way."""
        total: list[float] = []
        for metric, size in zip(self.metrics, self.sizes, strict=True):
            part = slice(len(total), len(total) + size)
            total += getattr(metric, "merge", add)(some[part], more[part])
        return total

    def confusion(self, counts: Tensor) -> list[list[float]] | None:
        """The confusion matrix of the task's metric."""
        own = counts[: self.sizes[0]]
        return self.metrics[0].confusion(own.long() if bool((own == own.round()).all()) else own)


def add(some: Sequence[float], more: Sequence[float]) -> list[float]:
    """Merge counts that are sums."""
    return [a + b for a, b in zip(some, more, strict=True)]

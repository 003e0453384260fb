"""tuning.csv of a comparison with equal chances: the trials of each option, and which keys were tuned."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.store.reading import try_read_text

TUNING_FILE = "tuning.csv"
FACTS = ("seed", "stage", "trial", "tuned", "metric", "better", "value", "chosen", "status", "path")  # after the keys


@dataclass(frozen=True)
class TrialRow:
    """One run that is not ranked: a trial, or a run of a setting that an earlier budget chose (`former`)."""

    keys: Mapping[str, str]  # the swept values as text
    stage: str
    tuned: tuple[str, ...]
    metric: str
    better: str  # min or max
    value: float  # the best value of the metric; infinitely bad for a trial without a result
    chosen: bool
    path: Path

    @property
    def option(self) -> tuple[tuple[str, str], ...]:
        """The swept values that are not tuned."""
        return tuple((key, text) for key, text in self.keys.items() if key not in self.tuned and text)


def read_tuning(folder: Path) -> list[TrialRow]:
    """The rows of a sweep's tuning.csv; empty if there is none, or it is damaged."""
    try:
        table = list(csv.DictReader(io.StringIO(try_read_text(folder / TUNING_FILE) or "", newline="")))
    except csv.Error:
        return []
    rows = []
    for line in table:
        if not {"stage", "path", "value", "tuned"} <= set(line) or not line["path"]:
            continue
        better = "max" if line.get("better") == "max" else "min"
        keys = {key: text or "" for key, text in line.items() if key is not None and key not in FACTS}
        path = folder / os.path.normpath(line["path"])
        rows.append(
            TrialRow(
                keys, line["stage"] or "", tuple((line["tuned"] or "").split()), line.get("metric") or "", better,
                number(line["value"], better), line.get("chosen") == "yes", path,
            )
        )  # fmt: skip
    return rows


def number(text: str | None, better: str) -> float:
    """A value of the metric; infinitely bad where there is none."""
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.nan
    return value if math.isfinite(value) else math.inf if better == "min" else -math.inf


def best_after(values: Sequence[float], better: str) -> list[float]:
    """The best of the first k values, expected over random orders of them, for k = 1 to their number.

    Of n sorted values the i-th best (from 0) is the best of k drawn with probability C(n - 1 - i, k - 1) / C(n, k).
    A value that is infinitely bad counts as the worst finite one.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    worst = max(finite) if better == "min" else min(finite)
    ordered = sorted((v if math.isfinite(v) else worst for v in values), reverse=better == "max")
    n = len(ordered)
    return [
        math.fsum(value * math.comb(n - 1 - i, k - 1) for i, value in enumerate(ordered)) / math.comb(n, k)
        for k in range(1, n + 1)
    ]

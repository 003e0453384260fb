"""Remarks on a comparison over folds: what they tell apart, and which of them are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlrun.report.intervals import LEAST_FOLDS, ConfidenceInterval
from dlrun.report.pairs import difference
from dlrun.report.stats import RunGroup
from dlrun.report.tables import format_number

Label = Callable[[RunGroup], str]
SHOWN = 4  # folds that are missing, and settings of each


def span(value: ConfidenceInterval | None) -> str:
    """`0.9120 (0.8800 to 0.9440)`: a mean with its interval, if it has one; empty for None."""
    if value is None or value.low is None or value.high is None:
        return format_number(value.center) + (" (median)" if value.is_median else "") if value else ""
    return f"{format_number(value.center)} ({format_number(value.low)} to {format_number(value.high)})"


def on_folds(known: Sequence[RunGroup], metric: str, label: Label) -> list[str]:
    """Remarks on too few folds, and on how the test part tells the first two settings apart."""
    best, others = known[0], [(one, difference(one, known[0])) for one in known[1:]]
    fewest = min([len(best.folds), *(found.n if found else 0 for _, found in others)])
    if fewest < LEAST_FOLDS:
        return [f"fewer than {LEAST_FOLDS} folds in common give no interval: any lead may be chance; run all folds."]
    name = metric.split("_", 1)[-1]
    tested = difference(best, known[1], name) if len(known) > 1 else None
    if tested is None:
        return []
    pair = f"{label(best)} minus that of {label(known[1])}"
    return [f"over {tested.n} folds, test_{name} of {pair} is {span(tested)}."]


def on_missing_folds(groups: Sequence[RunGroup], label: Label) -> str:
    """Which folds have no result, at which seed of which setting; empty if none is missing."""
    found: dict[str, list[str]] = {}
    for one in groups:
        counts = {row.fold.count for row in one.rows if row.fold is not None and row.fold.count}
        for seed in dict.fromkeys(row.seed for row in one.rows):
            there = {row.fold.number for row in one.counted if row.fold is not None and row.seed == seed}
            lost = [str(fold) for fold in range(max(counts, default=0)) if fold not in there]
            if lost:
                which = f"fold{'s' if len(lost) > 1 else ''} {', '.join(lost)} of {max(counts)}"
                where = ([label(one)] if len(groups) > 1 else []) + ([f"seed {seed}"] if seed != "" else [])
                found.setdefault(which, []).append(" ".join(where))
    words = [
        f"{which} ({'; '.join(where[:SHOWN])}{', ...' if where[SHOWN:] else ''})" for which, where in found.items()
    ]
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return f"no result of {', '.join(words[:SHOWN])}{more}: the means are over the other folds." if words else ""

"""Which way the columns of metrics.csv are better, and which values they can have, as runs of every age say it."""

from __future__ import annotations

import math
from collections.abc import Mapping

Bounds = tuple[float | None, float | None]  # the least and the largest value
OLD_MAXIMA = ("accuracy", "r2", "f1", "precision", "recall", "auc")  # more is better; for runs without `better`
OLD_BOUNDS: dict[str, Bounds] = {  # for runs without `bounds`
    "loss": (0.0, None), "mae": (0.0, None), "r2": (None, 1.0),
    **dict.fromkeys(("accuracy", "f1", "precision", "recall", "auc"), (0.0, 1.0)),
}  # fmt: skip


def direction(facts: Mapping[str, object], column: str) -> str | None:
    """Whether less or more of a column of metrics.csv is better, as `better` in summary.json says; None if it does not.

    For runs of versions without `better`, the name of the column decides.
    """
    declared = facts.get("better")
    if not isinstance(declared, Mapping):
        return "max" if column.endswith(OLD_MAXIMA) else "min"
    way = declared.get(column.partition("_")[2])
    return way if way in ("min", "max") else None


def column_bounds(facts: Mapping[str, object], column: str) -> Bounds:
    """The least and largest value of a column of metrics.csv, as `bounds` in summary.json says; None where it does not.

    For runs of versions without `bounds`, the name of the column decides.
    """
    declared, name = facts.get("bounds"), column.partition("_")[2]
    if not isinstance(declared, Mapping):
        return next((pair for end, pair in OLD_BOUNDS.items() if column.endswith(end)), (None, None))
    pair = declared.get(name)
    if not isinstance(pair, list) or len(pair) != 2:
        return None, None
    least, largest = (end if isinstance(end, int | float) and math.isfinite(end) else None for end in pair)
    return least, largest

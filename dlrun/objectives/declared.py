"""What metrics and losses declare of their values: which way is better, and which values there can be."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dlrun.errors import ConfigError, Problem


def directions(metric: object) -> dict[str, str]:
    """Which way each value of an evaluation is better, `min` or `max`; a metric that does not say is not in it.

    Raises `ConfigError` where a metric declares something else.
    """
    declared, names = getattr(metric, "better", {}), getattr(metric, "names", ())
    known = isinstance(declared, Mapping) and set(declared) <= set(names)
    if not known or not set(declared.values()) <= {"min", "max"}:
        what = f"{type(metric).__name__}.better is {declared!r}."
        raise ConfigError(Problem("metric", what, f"Map names among {', '.join(names)} to 'min' or 'max'."))
    return {"loss": "min", **declared}


def bounds(metric: object, loss: object) -> dict[str, list[float | None]]:
    """The least and largest value that each value of an evaluation can have, None where there is no bound.

    A metric that does not say is not in it, and neither is a loss without `bounds`: a user's may be below 0.

    Raises `ConfigError` where a metric or the loss declares something else.
    """
    declared, names = getattr(metric, "bounds", {}), getattr(metric, "names", ())
    own = getattr(loss, "bounds", None)
    known = isinstance(declared, Mapping) and set(declared) <= set(names)
    found = {**({} if own is None else {"loss": own}), **(declared if known else {})}
    if not known or not all(_are_bounds(pair) for pair in found.values()):
        what = f"{type(metric).__name__}.bounds is {declared!r}" + (f", that of the loss {own!r}." if own else ".")
        raise ConfigError(Problem("metric", what, f"Map names among {', '.join(names)} to (least, largest) or None."))
    return {name: [None if end is None else float(end) for end in pair] for name, pair in found.items()}


def _are_bounds(pair: object) -> bool:
    """Whether a value is two numbers in order, either of which may be None."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        return False
    ends = [end for end in pair if end is not None]
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in ends)
    return numbers and (len(ends) < 2 or ends[0] < ends[1])

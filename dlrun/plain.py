"""Plain values: dotted keys, and the numbers among them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]  # a mapping as YAML and JSON hold it: None, bool, numbers, str, lists and mappings


def flatten(values: Mapping[str, Any], prefix: str = "") -> Values:
    """Nested mappings as dotted keys, in order. Lists and empty mappings are values."""
    flat: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def number(value: object) -> float:
    """A float, or nan."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def finite(values: Iterable[float]) -> list[float]:
    """The values without nan and infinities."""
    return [value for value in values if math.isfinite(value)]


def numbers(part: object) -> dict[str, float]:
    """The finite numbers of a mapping."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(k): number(v) for k, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def json_value(value: object) -> Any:
    """A plain value for JSON, which has no name for numbers that are not finite: they become None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

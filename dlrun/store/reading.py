"""Read small files as plain values; a missing or damaged one is empty. Nothing here imports numpy or pandas."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Columns = dict[str, list[float]]


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping of plain values; empty when the file is missing or damaged."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[str] | None:
    """The non-empty lines of a text file; None when there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def read_columns(path: Path) -> Columns:
    """A CSV file of numbers by column. What is missing or no number is nan.

    A last line without its newline was cut while being written: its last number may lack digits, so it is
    dropped.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    whole, newline, _ = text.rpartition("\n")
    rows = list(csv.reader(whole.replace("\0", "").split("\n"))) if newline else []
    if not rows:
        return {}
    header, *body = rows
    body = [row for row in body if row]
    return {name: [number(row[i]) if i < len(row) else math.nan for row in body] for i, name in enumerate(header)}


def number(text: Any) -> float:
    """A float, or nan."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def finite(values: Iterable[float]) -> list[float]:
    """The values without nan and infinities."""
    return [value for value in values if math.isfinite(value)]


def numbers(part: Any) -> dict[str, float]:
    """The finite numbers of a mapping."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(k): float(v) for k, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat

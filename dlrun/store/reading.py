"""Read small files as plain values; a missing or damaged one is empty. Nothing here imports numpy or pandas."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from dlrun.plain import Values, number

Columns = dict[str, list[float]]


def read_text(path: Path) -> str | None:
    """The text of a file; None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None


def read_json(path: Path) -> Values:
    """A JSON object, or an empty dict when the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_yaml(path: Path) -> Values:
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
    text = read_text(path)
    return None if text is None else [line.rstrip() for line in text.splitlines() if line.strip()]


def read_columns(path: Path) -> Columns:
    """A CSV file of numbers by column. What is missing or no number is nan.

    A last line without its newline was cut while being written: its last number may lack digits, so it is
    dropped.
    """
    whole, newline, _ = (read_text(path) or "").rpartition("\n")
    rows = list(csv.reader(whole.replace("\0", "").split("\n"))) if newline else []
    if not rows:
        return {}
    header, *body = rows
    body = [row for row in body if row]
    return {name: [number(row[i]) if i < len(row) else math.nan for row in body] for i, name in enumerate(header)}

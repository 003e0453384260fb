"""Read small files as plain values; a missing or damaged one is empty. Nothing here imports numpy or pandas."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from dlrun import bounded
from dlrun.errors import ConfigError
from dlrun.plain import Values, number

Columns = dict[str, list[float]]
MOST_JSON, MOST_YAML, MOST_TABLE = 16 * 2**20, 2**20, 256 * 2**20  # bytes
NUMBER = (int, float)
FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {  # of what type they are, where they are not None
    "status.json": {
        "made_by": str, "state": str, "name": str, "pid": int, "host": str, "started": str, "ended": str, "kind": str,
        "error": str, "traceback": str, "exit_code": int, "epoch": int, "step": int, "seconds": NUMBER,
    },
    "environment.json": {
        "argv": list, "versions": dict, "identity": str, "device": str, "engine": list, "auto": dict, "better": dict,
        "plugins": list, "notes": list, "earlier": list,
    },
    "summary.json": {
        "monitor": str, "mode": str, "stopped": str, "best": dict, "last": dict, "test": dict, "baseline": dict,
        "counts": dict, "times": dict, "remarks": list, "better": dict,
    },
}  # fmt: skip


def read_text(path: Path, most: int = bounded.MOST_BYTES) -> str | None:
    """The text of a file; None when it cannot be read."""
    try:
        return bounded.read_text(path, most, errors="replace")
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def read_json(path: Path) -> Values:
    """A JSON object, or an empty dict when the file is missing or damaged.

    Of the files of a run, fields that have a wrong type are left out.
    """
    try:
        text = bounded.read_text(path, MOST_JSON)
        value = {} if bounded.is_nested_deeply(text) else json.loads(text, parse_constant=lambda name: None)
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    if r"\ud" in text.lower():  # halves of surrogate pairs, which no other file can hold
        value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    fields = FIELDS.get(path.name, {})
    return {key: item for key, item in value.items() if fits(item, fields.get(key))}


def fits(value: object, kind: type | tuple[type, ...] | None) -> bool:
    """Whether a value of a file has the type that it should have."""
    return value is None or kind is None or (isinstance(value, kind) and not isinstance(value, bool))


def read_yaml(path: Path, most: int = MOST_YAML) -> Values:
    """A YAML mapping of plain values; empty when the file is missing or damaged."""
    from dlrun.config.schema import yamls

    try:
        value = yamls.loads(bounded.read_text(path, most), str(path))
    except (OSError, ValueError, ConfigError):
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
    whole, newline, _ = (read_text(path, MOST_TABLE) or "").rpartition("\n")
    try:
        rows = list(csv.reader(whole.replace("\0", "").split("\n"))) if newline else []
    except csv.Error:  # a cell of 100,000 letters
        rows = []
    if not rows:
        return {}
    header, *body = rows
    body = [row for row in body if row]
    return {name: [number(row[i]) if i < len(row) else math.nan for row in body] for i, name in enumerate(header)}

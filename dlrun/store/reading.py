"""Read small files as plain values. A missing or damaged file is read as an empty one. Numpy is not needed."""

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
NUMERIC = (int, float)
FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {  # the type of each field that is not None
    "status.json": {
        "made_by": str, "state": str, "name": str, "pid": int, "host": str, "started": str, "ended": str, "kind": str,
        "error": str, "traceback": str, "exit_code": int, "epoch": int, "step": int, "seconds": NUMERIC,
    },
    "environment.json": {
        "argv": list, "versions": dict, "identity": str, "device": str, "engine": list, "auto": dict, "better": dict,
        "bounds": dict, "plugins": list, "notes": list, "earlier": list,
    },
    "summary.json": {
        "monitor": str, "mode": str, "stopped": str, "best": dict, "last": dict, "test": dict, "baseline": dict,
        "counts": dict, "times": dict, "remarks": list, "better": dict, "bounds": dict, "data": dict,
    },
}  # fmt: skip


def try_read_text(path: Path, most: int = bounded.MOST_BYTES) -> str | None:
    """The text of a file, or None if it cannot be read."""
    try:
        return bounded.read_text(path, most, errors="replace")
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def read_json(path: Path) -> Values:
    """A JSON object, or an empty dict if the file is missing or damaged. Fields of a wrong type are left out."""
    try:
        text = bounded.read_text(path, MOST_JSON)
        value = {} if bounded.is_nested_deeply(text) else json.loads(text, parse_constant=lambda name: None)
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    if r"\ud" in text.lower():  # lone surrogates, which cannot be encoded in UTF-8
        value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    fields = FIELDS.get(path.name, {})
    return {key: item for key, item in value.items() if has_type(item, fields.get(key))}


def has_type(value: object, kind: type | tuple[type, ...] | None) -> bool:
    """Whether a value is None or of this type. A bool does not count as a number."""
    return value is None or kind is None or (isinstance(value, kind) and not isinstance(value, bool))


def parse_yaml(text: str, source: str) -> object:
    """The value of a YAML text. Raises `ConfigError` that names its `source`. yaml is loaded when it is needed."""
    from dlrun.config.schema import yamls

    return yamls.loads(text, source)


def read_yaml(path: Path, most: int = MOST_YAML) -> Values:
    """A YAML mapping of plain values, or an empty dict if the file is missing or damaged."""
    try:
        value = parse_yaml(bounded.read_text(path, most), str(path))
    except (OSError, ValueError, ConfigError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[str] | None:
    """The non-empty lines of a text file, or None if it cannot be read."""
    text = try_read_text(path)
    return None if text is None else [line.rstrip() for line in text.splitlines() if line.strip()]


def read_columns(path: Path) -> Columns:
    """The columns of a CSV file of numbers. Missing and invalid cells are NaN.

    A last line without a newline is dropped: its writing was interrupted, and its last number may lack digits.
    """
    whole, newline, _ = (try_read_text(path, MOST_TABLE) or "").rpartition("\n")
    try:
        rows = list(csv.reader(whole.replace("\0", "").split("\n"))) if newline else []
    except csv.Error:  # a cell of more than 131,072 characters
        rows = []
    if not rows:
        return {}
    header, *body = rows
    body = [row for row in body if row]
    return {name: [number(row[i]) if i < len(row) else math.nan for row in body] for i, name in enumerate(header)}

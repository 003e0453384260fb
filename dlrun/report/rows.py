"""Single rows with their predictions, of mistakes.json: the worst mistakes, and some samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import count_of
from dlrun.plain import Values, number
from dlrun.report.page import Cell, number_cell, text_cell
from dlrun.report.tables import format_number
from dlrun.store.reading import read_json

BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Rows:
    """Rows as a table, or as tiles (address of the image, lines below it, whether the prediction is right)."""

    headers: Sequence[str]
    table: Sequence[Sequence[Cell]]
    tiles: Sequence[tuple[str, Sequence[str], bool]]


@dataclass(frozen=True)
class StoredRows:
    """What mistakes.json holds."""

    title: str  # where the rows are from
    worst: Rows
    samples: Rows


def read_rows(path: Path) -> StoredRows | None:
    """The rows in a mistakes.json; None if there is none, or nothing in it."""
    found = read_json(path)
    columns = [str(name) for name in _list(found.get("columns"))]
    worst, samples = (_rows(_list(found.get(key)), columns) for key in ("worst", "samples"))
    if not (worst.table or worst.tiles or samples.table or samples.tiles):
        return None
    wrong = number(found.get("wrong"))
    title = f"{found.get('part')}, {count_of(number(found.get('rows')), 'row')}"
    return StoredRows(title + (f", {wrong:,.0f} wrong" if wrong == wrong else ""), worst, samples)


def _rows(found: list[object], columns: Sequence[str]) -> Rows:
    rows = [row for row in found if isinstance(row, dict) and "true" in row and "predicted" in row]
    tiles = [
        (f"data:image/png;base64,{row['image']}", _caption(row), row["true"] == row["predicted"])
        for row in rows
        if BASE64.fullmatch(str(row.get("image", "")))
    ]
    if tiles:
        return Rows([], [], tiles)
    last = next((key for key in ("probability", "error") if any(key in row for row in rows)), "")
    headers = ["row", *columns, "true", "predicted", *([last] if last else [])]
    return Rows(headers, [_cells(row, len(columns), last) for row in rows], []) if rows else Rows([], [], [])


def _caption(row: Mapping[str, object]) -> list[str]:
    said = _text(row["predicted"]) + (f", {number(row['probability']):.0%}" if "probability" in row else "")
    return [said] if row["true"] == row["predicted"] else [said, f"is {_text(row['true'])}"]


def _cells(row: Values, inputs: int, last: str) -> list[Cell]:
    given = [*_list(row.get("input")), *[""] * inputs][:inputs]
    kind = "" if row["true"] == row["predicted"] or last == "error" else "wrong"
    told = [_cell(row["true"]), Cell(_text(row["predicted"]), _value(row["predicted"]), kind=kind)]
    end = [number_cell(format_number(number(row.get(last))), number(row.get(last)))] if last else []
    return [number_cell(str(row.get("row", ""))), *(_given(value) for value in given), *told, *end]


def _cell(value: object) -> Cell:
    return text_cell(_text(value)) if _value(value) is None else Cell(_text(value), _value(value))


def _given(value: object) -> Cell:
    return text_cell(str(value)) if _value(value) is None else Cell(f"{_value(value):.6g}", _value(value))


def _text(value: object) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _value(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []

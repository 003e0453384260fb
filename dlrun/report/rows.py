"""Single rows with their predictions, of mistakes.json: the worst mistakes, and some samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from dlrun.errors import count_of
from dlrun.plain import Values, number
from dlrun.report.page import Cell, number_cell, text_cell
from dlrun.report.tables import format_number
from dlrun.store.reading import read_json

T = TypeVar("T")
ENDS = ("probability", "error")
FEW = 2  # inputs, up to which they stand before the answer
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
    before = ["row"] if any("row" in row for row in rows) else []
    ends = [key for key in ENDS if any(key in row for row in rows)]
    answer = ["true", "predicted", *ends]
    headers = [*before, *_in_order(columns, answer)]
    table = [
        [
            *(number_cell(str(row.get("row", ""))) for _ in before),
            *_in_order(_given(row, len(columns)), _answer(row, ends)),
        ]
        for row in rows
    ]
    return Rows(headers, table, []) if rows else Rows([], [], [])


def _in_order(given: Sequence[T], answer: Sequence[T]) -> list[T]:
    """A text stands before its answer; many numbers stand behind it, where they can be scrolled to."""
    return [*answer, *given] if len(given) > FEW else [*given, *answer]


def _caption(row: Mapping[str, object]) -> list[str]:
    said = _text(row["predicted"]) + (f", {number(row['probability']):.0%}" if "probability" in row else "")
    return [said] if row["true"] == row["predicted"] else [said, f"is {_text(row['true'])}"]


def _answer(row: Values, ends: Sequence[str]) -> list[Cell]:
    wrong = "" if row["true"] == row["predicted"] or "error" in ends else "wrong"
    measured = [number(row.get(key)) for key in ends]
    told = [_cell(row["true"]), replace(_cell(row["predicted"]), kind=wrong)]
    return [*told, *(number_cell(format_number(value), value) for value in measured)]


def _given(row: Values, count: int) -> list[Cell]:
    cells = [
        text_cell(str(value)) if _value(value) is None else Cell(f"{_value(value):.6g}", _value(value))
        for value in _list(row.get("input"))[:count]
    ]
    return cells + [Cell("")] * (count - len(cells))


def _cell(value: object) -> Cell:
    return text_cell(_text(value)) if _value(value) is None else Cell(_text(value), _value(value))


def _text(value: object) -> str:
    return format_number(value) if isinstance(value, float) else str(value)


def _value(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []

"""schema.yaml: the types of a table's columns as a user may edit them and give them back (`dataset.schema=FILE`).

columns:
  size: {type: number, unit: m2, why: numbers in m2}
  born: {type: date, format: "%d.%m.%Y"}
  stars: {type: number, missing: [NA]}
  review: {type: text}                      # left out, as id and constant are; `left_out: true` leaves out any
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dlrun.bounded import read_text
from dlrun.data.table.cells import NumberFormat
from dlrun.data.table.types import TYPES, Typed
from dlrun.errors import DataError, did_you_mean
from dlrun.plain import Values

KEYS = ("type", "unit", "thousands", "decimal", "format", "missing", "words", "left_out", "why")
MOST_NODES = 200_000


def as_yaml(found: Sequence[Typed], drop: Sequence[str] = ()) -> str:
    """The text of schema.yaml."""
    columns = {column.name: described(column) for column in found}
    columns |= {name: {"left_out": True} for name in drop if name not in columns}
    head = "# The types of the columns. Edit this file and give it back: dataset.schema=FILE\n"
    return head + yaml.safe_dump({"columns": columns}, sort_keys=False, allow_unicode=True, width=1000)


def described(column: Typed) -> Values:
    """What a user may change of a column, without what is usual."""
    told: Values = {"type": column.type}
    if column.type == "number":
        usual = NumberFormat()
        parts = {"unit": column.number.unit, "thousands": column.number.thousands, "decimal": column.number.decimal}
        told |= {key: value for key, value in parts.items() if value != getattr(usual, key)}
    if column.dates:
        told["format"] = column.dates
    if column.truth:
        told["words"] = {text: int(value) for text, value in column.truth.items()}
    if column.missing:
        told["missing"] = list(column.missing)
    return told | ({"why": column.why} if column.why else {})


def read_types(path: str) -> tuple[dict[str, Typed], list[str]]:
    """The types that a file says, and the columns that it leaves out. Raises `DataError` naming the column."""
    file = Path(path).expanduser()
    try:
        text = read_text(file)
        refuse_bombs(text)
        values = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
        raise DataError(f"dataset.schema: {file}: cannot be read ({reason}).") from error
    columns = values.get("columns") if isinstance(values, dict) else None
    if not isinstance(columns, dict):
        raise DataError(f"dataset.schema: {file}: has no mapping `columns`, as the schema.yaml of a run has.")
    found, dropped = {}, []
    for name, told in columns.items():
        where = f"dataset.schema: column {name!r}"
        if not isinstance(told, dict):
            raise DataError(f"{where}: is {told!r}, and not a mapping such as {{type: number}}.")
        unknown = [key for key in told if key not in KEYS]
        if unknown:
            hint = did_you_mean(str(unknown[0]), KEYS) or f"Known: {', '.join(KEYS)}."
            raise DataError(f"{where}: there is no key {unknown[0]!r}. {hint}")
        if told.get("left_out"):
            dropped.append(str(name))
        elif "type" in told:
            found[str(name)] = typed_from(str(name), told, where)
    return found, dropped


def typed_from(name: str, told: Mapping[str, object], where: str) -> Typed:
    """The type of a column out of its lines. Raises `DataError`."""
    kind, words, missing = str(told["type"]), told.get("words", {}), told.get("missing", [])
    if kind not in TYPES:
        hint = did_you_mean(kind, TYPES) or f"Known: {', '.join(TYPES)}."
        raise DataError(f"{where}: there is no type {kind!r}. {hint}")
    if not isinstance(words, dict) or not isinstance(missing, list):
        raise DataError(f"{where}: `words` maps texts to 0 and 1, and `missing` is a list of texts.")
    number = NumberFormat(str(told.get("unit", "")), str(told.get("thousands", "")), str(told.get("decimal", ".")))
    truth = {str(text): float(value) for text, value in words.items()}
    return Typed(name, kind, "as the schema says", number, str(told.get("format", "")), tuple(map(str, missing)), truth)


def refuse_bombs(text: str) -> None:
    """Raise `ValueError` for a document that refers to itself, or is larger than any schema."""
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent) or count > MOST_NODES:
            raise ValueError("it holds references, or too much")

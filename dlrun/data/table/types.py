"""The type of a column, by one rule: the first line that fits.

constant   empty, or one value: left out
number     every filled cell is one, after taking off one currency or unit, thousands separators and a decimal
           comma; words such as NA ? - are missing where all other cells are numbers. Whole numbers are then
             boolean    {0, 1}
             category   leading zeros, or a header with zip, postcode, fips
             date       YYYYMMDD from 1900 to 2100, or seconds since 1970 under a header with date or time
             id         n, n + 1, ... without a gap; all different under an id-like or empty header; 16 digits
                        and more
             number     else, however few values there are
boolean    two words of a known pair (no, yes)
date       one format reads 99 % of the cells; where day and month fit both ways it has to be told
number     95 % of the cells are numbers: the others are missing
text       more than 50 distinct values, over half of the rows differ, three words a cell or more: left out
id         the same with fewer words: left out
category   the rest
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dlrun.data.table.cells import NumberFormat, boolean_words, date_formats, number_format, order_of
from dlrun.data.table.columns import Column, Filled, are_whole, filled
from dlrun.errors import DataError

TYPES = ("number", "boolean", "category", "date", "text", "id", "constant")
ORDERS = ("dmy", "mdy", "ymd", "ym")  # what a user may say of a date
LEFT_OUT = ("text", "id", "constant")
CODE_WORDS = re.compile(r"(?:^|[^a-z])(?:zip|zipcode|zip_?code|postcode|postal_?code|plz|fips)(?:[^a-z]|$)")
DATE_WORDS = re.compile(r"(?:^|[^a-z])(?:date|time|timestamp|datetime|day)(?:[^a-z]|$)|date|timestamp")
ID_WORDS = re.compile(
    r"(?:^|[^a-z])(?:id|ids|uuid|guid|index|idx|key|row|rownum|row_?id|number|nr|no)$|(?:_id|Id|ID)$|^unnamed"
)
MOST_NUMBERS = 0.95  # of the cells that must be numbers for the others to be missing
MANY = 50  # distinct texts, beyond which a column may be text or id
LONG_DIGITS = 16  # of whole numbers that are names, not quantities
SHOWN = 5  # cells that do not fit
WORDS = 3  # a cell, from which it is a text


@dataclass(frozen=True)
class Typed:
    """What a column is, and how its cells are read."""

    name: str
    type: str
    why: str = ""
    number: NumberFormat = field(default_factory=NumberFormat)
    dates: str = ""  # the format; `epoch` for seconds since 1970
    missing: tuple[str, ...] = ()  # words that mean missing here
    truth: dict[str, float] = field(default_factory=dict)  # of booleans: the number of each word
    notes: tuple[str, ...] = ()


def typed(column: Column, forced: str | None = None) -> Typed:
    """The type of a column by the rule, or the one that the user says. Raises `DataError` where it cannot be told."""
    if column.numbers is not None:
        return numeric_type(column, forced)
    found = filled(column)
    if forced is not None:
        return as_told(column, found, forced)
    values = len(found.texts) + len(found.words)
    if not values or (values == 1 and not found.empty):
        why = f"one value, {(*found.texts, *found.words)[0]!r}" if values else "empty"
        return Typed(column.name, "constant", why)
    as_number = by_number(column.name, found)
    if as_number is not None:
        return as_number
    for each in (by_words, by_date, by_most_numbers, by_text):
        told = each(column.name, with_words(found))
        if told is not None:
            return told
    raise AssertionError("the rest is a category")


def with_words(found: Filled) -> Filled:
    """The texts of a column that is no number: words such as NA are values like others."""
    return replace(found, texts=[*found.texts, *found.words], counts=[*found.counts, *found.words.values()], words={})


def by_number(name: str, found: Filled) -> Typed | None:
    """A number, or what whole numbers are; None unless every filled cell is a number."""
    format = number_format(found.texts) if found.texts else None
    if format is None:
        return None
    missing = tuple(found.words)
    values = np.array([format.parse(text) for text in found.texts])
    told = whole_numbers(name, found, values) if not format.unit and bool((values % 1 == 0).all()) else None
    if told is None:
        told = Typed(name, "number", "numbers" + (f" in {format.unit}" if format.unit else ""))
    if len(found.texts) == 1 and not found.empty and not missing:
        return replace(told, type="constant", why=f"one value, {found.texts[0]!r}")
    return replace(told, number=format, missing=missing)


def whole_numbers(name: str, found: Filled, values: np.ndarray) -> Typed | None:
    """What whole numbers are, where they are more than numbers."""
    texts = [text.strip() for text in found.texts]
    digits = [text.lstrip("+-") for text in texts]
    low = name.strip().casefold()
    plain = all(text.isdigit() for text in digits)
    if set(values.tolist()) <= {0.0, 1.0} and len(values) == 2:
        return Typed(name, "boolean", "0 and 1", truth=dict(zip(found.texts, values.tolist(), strict=True)))
    if plain and any(len(text) > 1 and text.startswith("0") for text in digits):
        return Typed(name, "category", "leading zeros")
    if CODE_WORDS.search(low):
        return Typed(name, "category", "a code, by its header")
    days = plain and all(len(text) == 8 and "1900" <= text[:4] <= "2100" for text in texts)
    if days and date_formats(texts, found.counts):
        return Typed(name, "date", "YYYYMMDD", dates="%Y%m%d")
    if DATE_WORDS.search(low) and bool(((values > 3e8) & (values < 5e9)).all()):
        return Typed(name, "date", "seconds since 1970, by its header", dates="epoch")
    different = max(found.counts) == 1
    if plain and any(len(text) >= LONG_DIGITS for text in digits):
        return Typed(name, "id", f"{LONG_DIGITS} digits and more")
    if different and len(values) > 2 and not found.empty and not found.words and is_consecutive(values):
        return Typed(name, "id", "numbered without a gap")
    if different and len(values) > 2 and (not low or ID_WORDS.search(name.strip()) or ID_WORDS.search(low)):
        return Typed(name, "id", "all different, by its header")
    return None


def is_consecutive(values: np.ndarray) -> bool:
    """n, n + 1, ... in any order."""
    return float(values.max() - values.min()) == len(values) - 1 and len(np.unique(values)) == len(values)


def by_words(name: str, found: Filled) -> Typed | None:
    """A boolean of two words."""
    truth = boolean_words(found.texts)
    return None if truth is None else Typed(name, "boolean", " and ".join(found.texts), truth=truth)


def by_date(name: str, found: Filled) -> Typed | None:
    """A date. Raises `DataError` where day and month fit both ways."""
    formats = date_formats(found.texts, found.counts)
    orders = sorted({order_of(format) for format in formats})
    if len(orders) > 1:
        raise DataError(
            f"column {name!r}: {found.texts[0]!r} may be day or month first. "
            f"Say dataset.types={{{name}: {orders[0]}}} or {{{name}: {orders[1]}}}."
        )
    return Typed(name, "date", formats[0], dates=formats[0]) if formats else None


def by_most_numbers(name: str, found: Filled) -> Typed | None:
    """A number where nearly all cells are one: the others are missing, and said."""
    total = found.rows
    plain = [text for text in found.texts if number_format([text]) is not None]
    format = number_format(plain) if plain else None
    if format is None:
        return None
    kept = sum(n for text, n in zip(found.texts, found.counts, strict=True) if text in set(plain))
    if kept < MOST_NUMBERS * total:
        return None
    others = [text for text in found.texts if text not in set(plain)]
    shown = ", ".join(map(repr, others[:SHOWN]))
    note = f"{total - kept} cells of {name!r} are no numbers and are missing: {shown}"
    return Typed(name, "number", f"{kept / total:.1%} numbers", number=format, missing=tuple(others), notes=(note,))


def by_text(name: str, found: Filled) -> Typed:
    """Text or id where most cells differ, else a category."""
    distinct, rows = len(found.texts), found.rows
    if distinct > MANY and distinct > rows / 2:
        words = sum(len(text.split()) * n for text, n in zip(found.texts, found.counts, strict=True)) / rows
        kind = "text" if words >= WORDS else "id"
        return Typed(name, kind, f"{distinct} different of {rows}, {words:.1f} words a cell")
    return Typed(name, "category", f"{distinct} values")


def numeric_type(column: Column, forced: str | None) -> Typed:
    """The type of a long column that was read as numbers; leading zeros and units are not in it."""
    assert column.numbers is not None
    if forced not in (None, "number", "category"):
        raise DataError(f"column {column.name!r}: holds numbers and cannot be read as {forced}.")
    absent = np.isnan(column.numbers)
    values = column.numbers[~absent] if absent.any() else column.numbers
    if forced is not None:
        return Typed(column.name, forced, "told")
    if not len(values) or (len(values) == column.rows and bool((values == values[0]).all())):
        return Typed(column.name, "constant", "empty" if not len(values) else f"one value, {values[0]:g}")
    if are_whole(values):
        different, counts = value_counts(values)
        texts = [f"{value:.0f}" for value in different[: MANY * 2]]
        if len(different) == 2 and set(different.tolist()) == {0.0, 1.0}:
            return Typed(column.name, "boolean", "0 and 1", truth={"0": 0.0, "1": 1.0})
        gaps = Filled(texts, counts[: MANY * 2].tolist(), column.rows - len(values), {})
        if len(different) == len(values):
            told = whole_numbers(column.name, replace(gaps, counts=[1] * len(texts)), different)
        else:
            told = whole_numbers(column.name, replace(gaps, counts=[2, *gaps.counts[1:]]), different)
        if told is not None and told.type != "boolean":
            return told
    return Typed(column.name, "number", "numbers")


def value_counts(whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of whole numbers, in order, and how often each occurs."""
    low, high = float(whole.min()), float(whole.max())
    if high - low >= max(len(whole), 1000):
        return np.unique(whole, return_counts=True)
    counts = np.bincount((whole - low).astype(np.int64))
    return np.flatnonzero(counts) + low, counts[counts > 0]


def as_told(column: Column, found: Filled, forced: str) -> Typed:
    """The type that the user says, read as well as it can be. Raises `DataError` where it does not fit at all."""
    name = column.name
    if forced in ORDERS or forced == "date":
        both = with_words(found)
        formats = date_formats(both.texts, both.counts, forced if forced in ORDERS else "auto")
        if not formats and forced == "date" and number_format(found.texts) is not None:
            return Typed(name, "date", "told", dates="epoch")
        if not formats:
            raise DataError(f"column {name!r}: {both.texts[0]!r} cannot be read as {forced}.")
        if forced == "date" and len({order_of(format) for format in formats}) > 1:
            return by_date(name, both) or Typed(name, "date")  # raises
        return Typed(name, "date", "told", dates=formats[0])
    if forced == "number":
        told = by_number(name, found) or by_most_numbers(name, with_words(found))
        plain = [text for text in found.texts if number_format([text]) is not None]
        if told is None and (format := number_format(plain)) is not None:
            told = Typed(name, "number", number=format)
        if told is None:
            raise DataError(f"column {name!r}: {found.texts[0]!r} cannot be read as a number.")
        return replace(told, type="number", why="told", truth={})
    if forced == "boolean":
        values = with_words(found).texts
        if len(values) != 2:
            raise DataError(f"column {name!r}: has {len(values)} values, and a boolean has two.")
        in_order = {text: float(i) for i, text in enumerate(sorted(values))}
        return Typed(name, "boolean", "told", truth=boolean_words(values) or in_order)
    if forced not in TYPES:
        known = ", ".join((*TYPES[:4], *ORDERS, *TYPES[4:6]))
        raise DataError(f"column {name!r}: there is no type {forced!r}. Known: {known}.")
    return Typed(name, forced, "told")


def left_out(column: Typed) -> bool:
    """Whether a column of this type is no feature."""
    return column.type in LEFT_OUT


def type_all(
    columns: Sequence[Column], forced: Mapping[str, str], known: Mapping[str, Typed] | None = None
) -> list[Typed]:
    """The type of each column, where it is not `known`.

    Raises `DataError` with all that cannot be told, at once.
    """
    found, wrong = [], []
    for column in columns:
        if known and column.name in known and column.name not in forced:
            found.append(known[column.name])
            continue
        try:
            found.append(typed(column, forced.get(column.name)))
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("\n".join(wrong))
    return found

"""What an inspection found, and rows that are there twice. No torch here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dlrun.data.table.columns import Column
from dlrun.data.table.encode import level_codes, values_of
from dlrun.data.table.types import Typed
from dlrun.errors import count_of
from dlrun.plain import Values
from dlrun.report.tables import Table, shorten

LISTED = 12  # classes in a table of the balance
DIGITS = 6  # of a number in its normal form
NAME = 40  # characters of a header or a label on the screen
FACTORS = 0x9E3779B97F4A7C15  # the golden ratio in 64 bits: odd multiples of it are spread over all bits


@dataclass(frozen=True)
class Findings:
    """What was found: plain values for programs, and tables, notes and remarks for the screen.

    `command` are the words after `dlrun` of a command that trains on the data; none where nothing could be learned.
    """

    facts: Values
    notes: Sequence[str]
    tables: Sequence[Table]
    remarks: Sequence[str]
    command: Sequence[str]


@dataclass(frozen=True)
class Cells:
    """A column, its type, and what its cells say."""

    column: Column
    kind: Typed

    @property
    def name(self) -> str:
        """Its header."""
        return self.kind.name

    @property
    def of_levels(self) -> bool:
        """Whether values are numbers of levels, not quantities."""
        return self.kind.type not in ("number", "boolean", "date")

    @cached_property
    def values(self) -> np.ndarray:
        """Numbers (N, parts), of words the number of the level; NaN where a cell is missing."""
        return self.levels[:, None] if self.of_levels else values_of(self.column, self.kind)

    @cached_property
    def levels(self) -> np.ndarray:
        """The number of each row's text (N,), NaN where it is missing."""
        texts, codes = level_codes(self.column)
        numbers: dict[str, int] = {}
        each = [np.nan if self.is_missing(text) else numbers.setdefault(text, len(numbers)) for text in texts]
        return np.array([*each, np.nan])[codes]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows have each text, in the order of the file; missing ones are left out."""
        texts, codes = level_codes(self.column)
        found: dict[str, int] = {}
        for text, count in zip(texts, np.bincount(codes, minlength=len(texts)).tolist(), strict=True):
            if count and not self.is_missing(text):
                found[text] = found.get(text, 0) + count
        return found

    def is_missing(self, text: str) -> bool:
        """Whether a stripped text says that there is no value."""
        return not text or text in self.missing

    @cached_property
    def missing(self) -> set[str]:
        """The words for missing values."""
        return {text.strip() for text in self.kind.missing}


def share(count: int, total: int) -> str:
    """A part of a whole in percent, 0.0% for none alone."""
    part = count / max(total, 1)
    return "< 0.1%" if 0 < part < 0.001 else f"{part:.1%}"


def balance_table(title: str, counts: Mapping[str, int]) -> Table:
    """The rows of each class, the commonest first; the last line stands for all that have no line of their own."""
    total = sum(counts.values())
    common = sorted(counts.items(), key=lambda pair: -pair[1])
    rows = [(shorten(label, NAME), f"{count:,}", share(count, total)) for label, count in common[:LISTED]]
    if rest := common[LISTED:]:
        others = sum(count for _, count in rest)
        most, least = rest[0][1], rest[-1][1]
        each = f"{least:,}" if most == least else f"{least:,} to {most:,}"
        rows.append((f"{count_of(len(rest), 'other class')}, {each} each", f"{others:,}", share(others, total)))
    return Table(["class", "rows", "share"], rows, title)


def duplicate_counts(columns: Sequence[Cells]) -> tuple[int, int]:
    """How many rows repeat an earlier one: cell by cell, and in their normal form.

    The normal form leaves out id columns; strings are stripped and lower-cased, numbers have six digits, and of texts
    the letters and digits alone are kept.
    """
    exact = repeated(sum_of([text_hashes(each.column, str) for each in columns]))
    kept = [normal_hashes(each) for each in columns if each.kind.type != "id"]
    return exact, repeated(sum_of(kept)) if kept else exact


def sum_of(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """One number (N,) a row out of one a cell, equal for equal rows."""
    total = np.zeros_like(hashes[0])
    for place, each in enumerate(hashes):
        total += each * np.uint64((2 * place + 1) * FACTORS % 2**64)
    return total


def repeated(rows: np.ndarray) -> int:
    """How many rows are equal to an earlier one."""
    return len(rows) - len(np.unique(rows))


def repeats(exact: int, normal: int, rows: int, without: str) -> list[str]:
    """A remark on rows that are there twice."""
    if not normal and not exact:
        return []
    form = f"{normal:,} in their normal form (without {without})"
    return [
        f"{count_of(exact, 'row')} ({share(exact, rows)}) repeat an earlier one, {form}: they may stand in two parts"
    ]


def text_hashes(column: Column, normal: Callable[[str], str]) -> np.ndarray:
    """A number (N,) for the text of each cell."""
    from pandas.util import hash_array

    if column.numbers is not None:
        return hash_array(column.numbers + 0.0)
    texts = np.array([normal(text).encode("utf-8", "surrogatepass") for text in (*column.texts, "")], dtype=object)
    return hash_array(texts, categorize=False)[column.codes]


def normal_hashes(cells: Cells) -> np.ndarray:
    """A number (N,) for the normal form of each cell."""
    from pandas.util import hash_array

    if cells.kind.type == "text":
        return text_hashes(cells.column, normal_text)
    if cells.column.numbers is None and cells.kind.type != "number":
        return text_hashes(cells.column, lambda text: text.strip().casefold())
    return hash_array(round_to_digits(cells.values[:, 0]))


def normal_text(text: str) -> str:
    """The letters and digits of a text: NFKC, in lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def round_to_digits(values: np.ndarray) -> np.ndarray:
    """Numbers of `DIGITS` digits."""
    with np.errstate(all="ignore"):  # of 0, of infinities, of the smallest numbers
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        near = np.rint(values * scale) / scale
    return np.where(np.isfinite(near), near, values) + 0.0

"""Columns of a table as they are read: distinct texts with a code a row, or numbers where texts say nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlrun.data.table.cells import is_missing


@dataclass(frozen=True)
class Column:
    """One column: its header, its distinct texts, and for each row the number of its text.

    A long column of numbers has `numbers` (N,) instead, with NaN where a cell is empty, and no texts.
    """

    name: str
    texts: tuple[str, ...]
    codes: np.ndarray  # (N,) int64; empty for a column of numbers
    numbers: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """The number of rows, N."""
        return len(self.codes if self.numbers is None else self.numbers)

    def take(self, rows: np.ndarray) -> Column:
        """The given rows, in their order."""
        if self.numbers is not None:
            return Column(self.name, (), self.codes, self.numbers[rows])
        return Column(self.name, self.texts, self.codes[rows])

    def counts(self) -> np.ndarray:
        """How many rows have each of the texts."""
        return np.bincount(self.codes, minlength=len(self.texts))

    def cells(self) -> list[str]:
        """The text of each row."""
        if self.numbers is not None:
            return ["" if value != value else f"{value:.15g}" for value in self.numbers.tolist()]
        return [self.texts[code] for code in self.codes.tolist()]


@dataclass(frozen=True)
class Filled:
    """What the rows of a column hold: the texts that occur and are not missing, and how often."""

    texts: list[str]
    counts: list[int]
    empty: int  # rows without a word
    words: dict[str, int]  # words that may stand for missing, and how often they do

    @property
    def rows(self) -> int:
        """Rows with a text."""
        return sum(self.counts)


def filled(column: Column) -> Filled:
    """The texts of a column, those for missing values apart. (A column of numbers is asked elsewhere.)"""
    texts, counts, words, empty = [], [], {}, 0
    for text, count in zip(column.texts, column.counts().tolist(), strict=True):
        if not count:
            continue
        if not text.strip():
            empty += count
        elif is_missing(text.strip()):
            words[text] = count
        else:
            texts.append(text)
            counts.append(count)
    return Filled(texts, counts, empty, words)


def are_whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole; NaN is left out, and an infinite one is not whole."""
    parts = (values[:1000], values)  # most columns that are not are told by their first rows
    return all(bool(((np.floor(part) == part) | np.isnan(part)).all()) for part in parts) and not np.isinf(values).any()


def column_of(name: str, cells: Sequence[str] | np.ndarray) -> Column:
    """A column out of the text of each row."""
    import pandas

    codes, texts = pandas.factorize(np.asarray(cells, dtype=object))
    return Column(name, tuple(map(str, texts)), codes.astype(np.int64))

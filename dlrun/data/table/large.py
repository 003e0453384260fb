"""Large files: columns that are plain numbers in the first rows are read as numbers.

They are read again as texts where that would hide something: leading zeros, long numbers, words, infinity.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from dlrun.data.table.cells import MISSING, NUMBER
from dlrun.data.table.columns import Column, are_whole, column_of
from dlrun.data.table.layout import Layout, blocks, open_unpacked
from dlrun.errors import DataError

if TYPE_CHECKING:
    import pandas

HEAD_ROWS = 2_000  # that type the columns
LONG = 1e15  # from here on, whole numbers have 16 digits
WORDS = [*MISSING, *(word.upper() for word in MISSING), "NaN", "None", "Null"]
COMMON_WORDS = [word for word in WORDS if not word.startswith("-")]  # with it, each negative number is looked up


def read_large(layout: Layout) -> list[Column]:
    """A large file: columns that are plain numbers in the first rows are read as numbers."""
    frame, plain = read_plain(layout)
    values = {i: frame[i].to_numpy(dtype=np.float64) for i in plain}
    hidden = leading_zeros(layout, values) | {i for i in plain if np.isinf(values[i]).any()}
    again = layout.frame(usecols=sorted(hidden)) if hidden else frame
    columns = []
    for i, name in enumerate(layout.names):
        if i in values and i not in hidden:
            columns.append(Column(name, (), np.empty(0, np.int64), values[i]))
        else:
            cells = again[i] if i in hidden else frame[i].fillna("")
            columns.append(column_of(name, cells.to_numpy(dtype=object)))
    return columns


def read_plain(layout: Layout) -> tuple[pandas.DataFrame, list[int]]:
    """The file, and the places of the columns that it has as numbers."""
    head = layout.frame(nrows=HEAD_ROWS)
    plain = [i for i in range(len(layout.names)) if is_plain(head[i])]
    for words in (COMMON_WORDS, WORDS):
        with contextlib.suppress(ValueError, DataError):
            return read_number_columns(layout, plain, words), plain
    plain = [i for i in plain if not breaks(layout, i)]
    return read_number_columns(layout, plain, WORDS), plain


def read_number_columns(layout: Layout, plain: list[int], words: list[str], **options: object) -> pandas.DataFrame:
    """The file with some columns as numbers, where the words are missing. Raises where a cell is neither."""
    kinds = {i: (np.float64 if i in plain else object) for i in range(len(layout.names))}
    missing = dict.fromkeys(plain, words)
    # in pieces: the cells of the whole file would take more memory than the numbers
    return layout.frame(dtype=kinds, na_filter=True, na_values=missing, low_memory=True, **options)


def is_plain(cells: pandas.Series) -> bool:
    """Whether the first rows of a column are bare numbers of fewer than 16 digits, or missing."""
    texts = {str(text).strip() for text in cells.unique()}
    filled = [text for text in texts if text.casefold() not in MISSING]
    return bool(filled) and all(NUMBER.match(text) and len(text.lstrip("+-").partition(".")[0]) < 16 for text in filled)


def breaks(layout: Layout, place: int) -> bool:
    """Whether a column cannot be read as numbers."""
    try:
        read_number_columns(layout, [place], WORDS, usecols=[place])
    except (ValueError, DataError):
        return True
    return False


def leading_zeros(layout: Layout, values: dict[int, np.ndarray]) -> set[int]:
    """The columns of whole numbers some of which may be written with leading zeros, or have 16 digits and more."""
    whole = {i for i, numbers in values.items() if are_whole(numbers)}
    if not whole:
        return set()
    with open_unpacked(layout.path, layout.packed) as file:
        if any(has_leading_zero(data, layout.delimiter) for data in blocks(file)):
            return whole
    return {i for i in whole if np.fmax.reduce(np.abs(values[i]), initial=0) >= LONG}


def has_leading_zero(data: bytes, delimiter: str) -> bool:
    """Whether a cell begins with 0 and another digit."""
    signs = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    before = signs[:-2]
    zeros = np.flatnonzero((signs[1:-1] == ord("0")) & (before - ord("0") > 9) & (before != ord(".")))
    zeros = zeros[signs[zeros + 2] - ord("0") <= 9]  # bytes below the 0 are beyond the 9: they have no sign
    return not {ord(delimiter), *b'\n"+-'}.isdisjoint(before[zeros].tolist())

"""Large files: columns that are plain numbers in the first rows are read as numbers.

They are read again as texts where that would hide something: leading zeros, long numbers, words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlrun.data.table.cells import MISSING, NUMBER
from dlrun.data.table.columns import Column, column_of
from dlrun.data.table.layout import Layout, blocks, opened
from dlrun.errors import DataError

if TYPE_CHECKING:
    import pandas

HEAD_ROWS = 2_000  # that type the columns


def read_large(layout: Layout) -> list[Column]:
    """A large file: columns that are plain numbers in the first rows are read as numbers."""
    head = layout.frame(nrows=HEAD_ROWS)
    plain = [i for i in range(len(layout.names)) if is_plain(head[i])]
    kinds = {i: (np.float64 if i in plain else object) for i in range(len(layout.names))}
    missing = [*MISSING, *(word.upper() for word in MISSING), "NaN", "None", "Null"]
    words = dict.fromkeys(plain, missing)
    try:
        frame = layout.frame(dtype=kinds, na_filter=True, na_values=words)
    except (ValueError, DataError):
        plain = [i for i in plain if not breaks(layout, i, missing)]
        kinds = {i: (np.float64 if i in plain else object) for i in range(len(layout.names))}
        frame = layout.frame(dtype=kinds, na_filter=True, na_values=dict.fromkeys(plain, missing))
    zeros = leading_zeros(layout, frame, plain)
    columns = []
    for i, name in enumerate(layout.names):
        if i in plain and i not in zeros:
            columns.append(Column(name, (), np.empty(0, np.int64), frame[i].to_numpy(dtype=np.float64)))
        elif i in zeros:
            columns.append(column_of(name, layout.frame(usecols=[i])[i].to_numpy(dtype=object)))
        else:
            columns.append(column_of(name, frame[i].fillna("").to_numpy(dtype=object)))
    return columns


def is_plain(cells: pandas.Series) -> bool:
    """Whether the first rows of a column are bare numbers of fewer than 16 digits, or missing."""
    texts = {str(text).strip() for text in cells.unique()}
    filled = [text for text in texts if text.casefold() not in MISSING]
    return bool(filled) and all(NUMBER.match(text) and len(text.lstrip("+-").partition(".")[0]) < 16 for text in filled)


def breaks(layout: Layout, place: int, missing: list[str]) -> bool:
    """Whether a column cannot be read as numbers."""
    try:
        layout.frame(usecols=[place], dtype={place: np.float64}, na_filter=True, na_values={place: missing})
    except (ValueError, DataError):
        return True
    return False


def leading_zeros(layout: Layout, frame: pandas.DataFrame, plain: list[int]) -> set[int]:
    """The columns of whole numbers some of which may be written with leading zeros, or have 16 digits and more."""
    whole = [i for i in plain if is_whole(frame[i].to_numpy(dtype=np.float64))]
    if not whole:
        return set()
    long = {i for i in whole if float(np.nanmax(np.abs(frame[i].to_numpy()), initial=0)) >= 1e15}
    with opened(layout.path, layout.packed) as file:
        return set(whole) if any(has_leading_zero(data, layout.delimiter) for data in blocks(file)) else long


def is_whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole; NaN is left out."""
    return all(bool((part % 1 == 0)[~np.isnan(part)].all()) for part in (values[:1000], values))


def has_leading_zero(data: bytes, delimiter: str) -> bool:
    """Whether a cell begins with 0 and another digit."""
    signs = np.frombuffer(data, np.uint8)
    zero = (signs[1:-1] == ord("0")) & (signs[2:] >= ord("0")) & (signs[2:] <= ord("9"))
    before = signs[:-2][zero]
    return bool(np.isin(before, [ord(delimiter), *b'\n"+-']).any())

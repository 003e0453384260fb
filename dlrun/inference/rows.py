"""What a user gives a trained model: words, lines, CSV files, images, folders and arrays, as rows in their order."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dlrun.data.csv_files import TEXT_WORDS, find_delimiter, normal_word
from dlrun.data.files import MOST_BYTES, read_unpacked
from dlrun.data.image_files import is_image, walk
from dlrun.data.table.encode import Oddities, TableEncoder
from dlrun.data.table.read import DataTable, Reading, read_table
from dlrun.data.vocabulary import UNKNOWN
from dlrun.errors import DataError, count_of, did_you_mean
from dlrun.inference.arrays import file_rows
from dlrun.inference.row import Row
from dlrun.plain import number
from dlrun.spec import DataSpec

TABLES = (".csv", ".tsv", ".txt")  # and these with .gz
ARRAYS = (".npy", ".npz")
COLUMN_WORDS = ("input", *TEXT_WORDS)  # that name the column of texts
PATH_WORDS = ("input", "path", "file", "filename", "image")  # or of image files
LINE = "-"  # lines of standard input
LISTED = 6


@dataclass
class Given:
    """The rows of what was given, read one after the other, and what was left out on the way."""

    spec: DataSpec
    words: Sequence[str]
    skipped: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """The rows, in order. Raises `DataError` for a file that cannot be used at all."""
        for count, word in enumerate(self.words or [LINE], start=1):
            yield from self.of(word, f"input {count}")

    def of(self, word: str, place: str = "") -> Iterator[Row]:
        """The rows that one word stands for."""
        kind, path = self.spec.input_kind, Path(os.path.expanduser(word))
        if word == LINE:
            yield from self.table("standard input", read_stdin())
        elif word.lower().endswith(ARRAYS):
            yield from file_rows(path, self.spec)
        elif "table" in self.spec.preprocessing:
            yield from self.own_table(word)
        elif is_table(word):
            yield from self.table(word, read_unpacked(path))
        elif kind == "image":
            yield from self.images(path)
        elif kind == "text":
            yield Row(word, word, f"{place} ({word!r})")
        elif kind == "tabular":
            yield Row(word, word.replace(";", ",").split(","), f"{place} ({word!r})")
        else:
            hint = f"Give a file of arrays ({', '.join(ARRAYS)}), one array for each input of the model."
            raise DataError(f"{word}: rows of kind {kind} cannot be given as words. {hint}")

    def own_table(self, word: str) -> Iterator[Row]:
        """The rows of a table with the columns that the model was trained on, by name and in any order."""
        if not is_table_file(word):
            names = [column["typed"]["name"] for column in self.spec.preprocessing["table"]["columns"]]
            columns_wanted = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
            raise DataError(
                f"{word!r}: give a table (CSV, TSV, JSON lines or parquet) with the columns {columns_wanted}."
            )
        yield from self.encoded(read_table(word, Reading()), word)

    def encoded(self, found: DataTable, word: str) -> Iterator[Row]:
        """The rows of a table, encoded as those of the training."""
        encoder, odd = TableEncoder.from_state(self.spec.preprocessing["table"]), Oddities()
        by_names([column.typed.name for column in encoder.columns], found.names, word)
        columns = {column.name: column for column in found.columns}
        copied = {name: columns[name].cells() for name in encoder.copied if name in columns}
        for i, values in enumerate(encoder.apply(columns, odd)):
            own = {name: cells[i] for name, cells in copied.items()}
            yield Row(f"row {i + 1}", (values,), f"{word} row {i + 1}", copied=own)
        self.remarks += odd.remarks(word)

    def table(self, where: str, data: bytes) -> Iterator[Row]:
        """The rows of a CSV file, or the lines of a plain one."""
        delimiter = "\t" if where.lower().removesuffix(".gz").endswith(".tsv") else find_delimiter(data)
        plain = where.lower().removesuffix(".gz").endswith(".txt") or where == "standard input"
        lines = text_lines(data)
        if self.spec.input_kind in ("text", "image") and plain:
            for line, text in enumerate(lines, start=1):
                if text.strip():
                    yield self.file_row(text.rstrip("\r\n"), f"{where} line {line}", Path())
            return
        yield from self.csv_rows(where, csv.reader(lines, delimiter=delimiter))

    def csv_rows(self, where: str, reader: Iterator[list[str]]) -> Iterator[Row]:
        """The rows of a table whose first row may be a header."""
        columns: list[int] | None = None
        folder = Path(where).parent
        line = width = 0
        try:
            for line, cells in enumerate(reader, start=1):
                if not any(cell.strip() for cell in cells):
                    continue
                if columns is None:
                    width = len(cells)
                    columns, is_header = self.columns(cells, where)
                    if is_header:
                        continue
                place = f"{where} line {line}"
                if max(columns, default=0) >= len(cells):
                    yield Row(place, [], place, f"{count_of(len(cells), 'cell')}, but the first row has {width}")
                elif self.spec.input_kind in ("text", "image"):
                    yield self.file_row(cells[columns[0]], place, folder)
                else:
                    taken = [cells[i] for i in columns]
                    yield Row(",".join(taken) if len(taken) <= LISTED else f"line {line}", taken, place)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{where}: line {line + 1}: {error}.") from error
        if columns is None:
            raise DataError(f"{where}: holds no row.")

    def file_row(self, text: str, place: str, folder: Path) -> Row:
        """A row that is a text, or the path of an image, which lies beside the table that names it."""
        if self.spec.input_kind == "image":
            return Row(text, folder / os.path.expanduser(text.strip()), place)
        return Row(text, text, place, "is not UTF-8." if UNKNOWN in text else "")

    def columns(self, first: list[str], where: str) -> tuple[list[int], bool]:
        """The columns that hold the inputs, and whether the first row is a header."""
        if self.spec.input_kind in ("text", "image"):
            column, is_header = text_column(first, self.spec.input_kind)
            return [column], is_header
        is_header = any(number(cell.strip()) != number(cell.strip()) and cell.strip() for cell in first)
        names = self.spec.feature_names
        width = len(names) or self.spec.input_shape[-1]
        if is_header and names:
            return by_names(names, first, where), True
        if len(first) != width:
            wanted = f" ({', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''})" if names else ""
            raise DataError(f"{where}: {len(first)} columns, but the model takes {width}{wanted}.")
        return list(range(width)), is_header

    def images(self, path: Path) -> Iterator[Row]:
        """An image file, or those of a folder and the folders in it."""
        if not path.is_dir():
            yield Row(str(path), path, str(path))
            return
        files = [file for file in walk(path, self.skipped) if is_image(file, self.skipped)]
        if not files:
            raise DataError(f"{path}: holds no image.")
        for file in files:
            yield Row(str(file), file, str(file))


def text_column(first: Sequence[str], kind: str) -> tuple[int, bool]:
    """The column of a table that holds texts or paths of images, the first without a name; and was it named?"""
    words = [normal_word(cell) for cell in first]
    known = COLUMN_WORDS if kind == "text" else PATH_WORDS
    found = [words.index(word) for word in known if word in words]
    return (found[0], True) if found else (0, False)


def is_table(word: str) -> bool:
    """Whether the name is that of a table."""
    return word.lower().removesuffix(".gz").endswith(TABLES)


def is_table_file(word: str) -> bool:
    """Whether the name is that of a file that tables are read from."""
    return word.lower().removesuffix(".gz").endswith((*TABLES, ".jsonl", ".ndjson", ".parquet", ".pq")) or "*" in word


def by_names(names: Sequence[str], header: Sequence[str], where: str) -> list[int]:
    """Where the columns of these names stand. Raises `DataError` that names those that are missing."""
    place = {name.strip(): i for i, name in reversed(list(enumerate(header)))}
    missing = [name for name in names if name not in place]
    if missing:
        hint = did_you_mean(missing[0], [name for name in place if name not in names])
        more = ", ..." if len(missing) > LISTED else ""
        raise DataError(f"{where}: has no column {', '.join(map(repr, missing[:LISTED]))}{more}. {hint}".strip())
    return [place[name] for name in names]


def read_stdin() -> bytes:
    """All of standard input. Raises `DataError` for a terminal, which gives nothing, and beyond the limit of files."""
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("no input is given. Name inputs, or send lines to standard input.")
    data = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DataError(f"standard input: holds more than {MOST_BYTES >> 20} MiB, the most that is read.")
    return data


def text_lines(data: bytes) -> io.TextIOWrapper:
    """Lines of UTF-8, the bytes that are none replaced, since one bad line must not stop the rest."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="replace", newline="")

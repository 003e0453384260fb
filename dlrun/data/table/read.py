"""Read tables: csv, tsv, gz, jsonl, parquet, one file or several, as columns of texts; nothing changes silently.

A header that is shorter or longer than the rows, a name that stands twice, an open quote and mixed encodings are errors
with their line. pandas reads, but guesses nothing: all cells are texts, "NA" is a text, 007 keeps its zeros. Files
beyond `LARGE` bytes are typed by their first rows (large.py).
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dlrun.data.files import GZIP, LISTED, open_data_file
from dlrun.data.table.columns import Column, column_of
from dlrun.data.table.large import read_large
from dlrun.data.table.layout import (
    DELIMITERS,
    Layout,
    check_widths,
    comments_before,
    delimiter_of,
    find_encoding,
    first_records,
    headers,
    is_header,
    open_unpacked,
    size_of,
)  # fmt: skip
from dlrun.errors import DataError, count_of, did_you_mean

HEAD_BYTES = 1 << 16
LARGE = 32 * 2**20  # bytes of a file, beyond which columns of numbers are not kept as texts
MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Reading:
    """How a file is read; `auto` is found, and said."""

    header: bool | str = "auto"
    delimiter: str = "auto"
    encoding: str = "auto"


@dataclass(frozen=True)
class DataTable:
    """The columns of a table, and what was found out about its files."""

    columns: list[Column]
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.columns[0].rows if self.columns else 0

    @property
    def names(self) -> list[str]:
        """The headers."""
        return [column.name for column in self.columns]

    def column(self, name: str, key: str) -> Column:
        """The column of that name, which `key` asks for. Raises `DataError` that names the nearest one."""
        for column in self.columns:
            if column.name == name:
                return column
        hint = did_you_mean(name, self.names) or f"Columns: {', '.join(self.names[:12])}."
        raise DataError(f"{key}: there is no column {name!r}. {hint}")

    def take(self, rows: np.ndarray) -> DataTable:
        """The given rows."""
        return DataTable([column.take(rows) for column in self.columns], self.notes)


def read_table(paths: str | Sequence[str], reading: Reading) -> DataTable:
    """The rows of all files that the paths (or patterns) name, in order. Raises `DataError`."""
    files = find_files([paths] if isinstance(paths, str) else list(paths))
    tables = [read_table_file(file, reading) for file in files]
    first = tables[0]
    for file, table in zip(files[1:], tables[1:], strict=True):
        if table.names != first.names:
            different = sorted(set(table.names) ^ set(first.names)) or table.names
            raise DataError(f"{file}: its columns are not those of {files[0]} ({', '.join(different[:LISTED])}).")
    if len(tables) == 1:
        return first
    columns = [concat_columns(parts) for parts in zip(*(table.columns for table in tables), strict=True)]
    return DataTable(columns, [note for table in tables for note in table.notes])


def find_files(paths: list[str]) -> list[Path]:
    """The files that paths and patterns name. Raises `DataError` where there is none."""
    found: list[Path] = []
    for path in paths:
        full = os.path.expanduser(path)
        files = [full] if os.path.lexists(full) or not glob.has_magic(full) else sorted(glob.glob(full))
        if not files:
            raise DataError(f"{path}: no file has such a name.")
        found += map(Path, files)
    for file in found:
        if file.is_dir():
            raise DataError(f"{file}: is a folder. Name its files: dataset.path='{file}/*.csv'.")
        if file.suffix.lower() in (".xlsx", ".xls", ".ods"):
            raise DataError(f"{file}: spreadsheets are not read. Save it as CSV.")
    return found


def concat_columns(parts: Sequence[Column]) -> Column:
    """One column out of those of several files."""
    if all(part.numbers is not None for part in parts):
        numbers = [part.numbers for part in parts if part.numbers is not None]
        return replace(parts[0], numbers=np.concatenate(numbers))
    return column_of(parts[0].name, [cell for part in parts for cell in part.cells()])


def read_table_file(path: Path, reading: Reading) -> DataTable:
    """One file. Raises `DataError`."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        return read_parquet(path)
    with open_data_file(path) as file:
        packed = file.read(2) == GZIP
    if name.endswith((".jsonl", ".ndjson")):
        return read_json_lines(path, packed)
    return read_delimited(path, packed, reading)


def read_delimited(path: Path, packed: bool, reading: Reading) -> DataTable:
    """A text file with a delimiter."""
    with open_unpacked(path, packed) as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        raise DataError(f"{path}: is empty.")
    encoding = find_encoding(path, packed, head, reading.encoding)
    text = head.decode(encoding, "ignore")
    comments = comments_before(text)
    text = text.split("\n", comments)[-1]
    delimiter = reading.delimiter if reading.delimiter != "auto" else delimiter_of(text, path)
    rows = first_records(text, delimiter)
    if len(rows[0]) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(rows[0]):,} columns are more than {MOST_COLUMNS:,}.")
    header = is_header(rows) if reading.header == "auto" else bool(reading.header)
    names = headers(rows[0], path) if header else [f"column {i + 1}" for i in range(len(rows[0]))]
    layout = Layout(path, packed, encoding, delimiter, header, names, comments)
    check_widths(layout)
    columns = read_large(layout) if size_of(path, packed) > LARGE else layout.columns(layout.frame())
    if not columns[0].rows:
        raise DataError(f"{path}: there is no row in it.")
    found = f"{columns[0].rows:,} rows, {len(names)} columns" + ("" if header else ", no header")
    by = f", separated by {DELIMITERS.get(delimiter, repr(delimiter))}s" if delimiter != "," and len(names) > 1 else ""
    coded = f", encoded as {encoding}" if encoding not in ("utf-8", "utf-8-sig") else ""
    above = f", below {count_of(comments, 'line')} of comment" if comments else ""
    return DataTable(columns, [f"{path}: {found}{by}{coded}{above}"])


def read_json_lines(path: Path, packed: bool) -> DataTable:
    """A file with a JSON object in each line; a key that a line lacks is an empty cell."""
    cells: dict[str, list[str]] = {}
    count = 0
    with open_unpacked(path, packed) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: line {number}: is no JSON ({error}).") from None
            if not isinstance(row, dict) or any(isinstance(value, dict | list) for value in row.values()):
                raise DataError(f'{path}: line {number}: is no flat object, such as {{"size": 3, "price": 10}}.')
            for key in row:
                cells.setdefault(key, [""] * count)
            for key, column in cells.items():
                column.append(json_text(row.get(key)))
            count += 1
    if not cells:
        raise DataError(f"{path}: there is no row in it.")
    columns = [column_of(name, column) for name, column in cells.items()]
    return DataTable(columns, [f"{path}: {count:,} rows, {len(cells)} columns"])


def json_text(value: object) -> str:
    """A value as the cell of a table."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_parquet(path: Path) -> DataTable:
    """A parquet file, which needs pyarrow."""
    import pandas

    try:
        frame = pandas.read_parquet(path)
    except ImportError:
        raise DataError(f"{path}: parquet needs pyarrow: pip install 'dlrun[parquet]'.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}).") from error
    columns = []
    for name in frame.columns:
        values = frame[name]
        if pandas.api.types.is_float_dtype(values.dtype):
            columns.append(Column(str(name), (), np.empty(0, np.int64), values.to_numpy(dtype=np.float64)))
        else:
            texts = values.map(lambda value: "" if pandas.isna(value) else json_text(value))
            columns.append(column_of(str(name), texts.to_numpy(dtype=object)))
    return DataTable(columns, [f"{path}: {len(frame):,} rows, {len(columns)} columns"])

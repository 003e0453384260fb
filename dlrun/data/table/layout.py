"""How a text file of a table is written: encoding, delimiter, header, cells a line; what is wrong, by its line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from dlrun.data.files import open_data_file
from dlrun.data.table.cells import date_formats, number_format
from dlrun.data.table.columns import Column, column_of
from dlrun.errors import DataError, count_of

if TYPE_CHECKING:
    import pandas

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tabulator", "|": "bar"}
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
NO_DELIMITER = "\x1f"  # between the cells of a file that has one column, in which commas are part of a text
BLOCK = 1 << 18  # bytes, which a core keeps in its own cache
LISTED_LINES = 50  # of a file, in which its first row is looked for


@contextmanager
def open_unpacked(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked. Raises `DataError` where that fails."""
    with open_data_file(path) as file:
        if not packed:
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: is a damaged gzip file ({error}).") from error


@dataclass(frozen=True)
class Undecoded:
    """A file that pandas takes for one of text: its parser wants UTF-8, and would decode the bytes to encode them."""

    file: IO[bytes]

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self.file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


@dataclass(frozen=True)
class Layout:
    """Where a text file is and how it is written."""

    path: Path
    packed: bool
    encoding: str
    delimiter: str
    header: bool
    names: list[str]
    comments: int = 0  # lines at the beginning that are no rows

    def frame(self, **options: object) -> pandas.DataFrame:
        """The file as pandas reads it, by the places of its columns. Raises `DataError` with the line of a fault."""
        import pandas

        try:
            with open_unpacked(self.path, self.packed) as file:
                source = Undecoded(file) if self.encoding == "utf-8" else file
                given = {"dtype": object, "keep_default_na": False, "na_filter": False, "low_memory": False} | options
                return pandas.read_csv(
                    source, **given,
                    sep=self.delimiter, header=None, names=range(len(self.names)), skiprows=self.comments + self.header,
                    encoding=self.encoding, index_col=False, skip_blank_lines=len(self.names) > 1,
                )  # fmt: skip
        except pandas.errors.EmptyDataError:
            raise DataError(f"{self.path}: there is no row in it.") from None
        except (pandas.errors.ParserError, EOFError, OSError) as error:
            raise DataError(f"{self.path}: {parser_words(str(error))}") from error

    def columns(self, frame: pandas.DataFrame) -> list[Column]:
        """The columns of a frame of texts."""
        return [column_of(name, frame[i].to_numpy(dtype=object)) for i, name in enumerate(self.names)]


def parser_words(said: str) -> str:
    """What is wrong with a file, in fewer words than pandas'."""
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said)
    if found:
        return f"line {found[2]} has {count_of(int(found[3]), 'cell')}, but the first line has {found[1]}."
    opened_at = re.search(r"EOF inside string starting at row (\d+)", said)
    if opened_at:
        return f"a quote that opens in line {int(opened_at[1]) + 1} is not closed."
    return f"cannot be read ({said.strip().removeprefix('Error tokenizing data. C error: ').rstrip('.')})."


def size_of(path: Path, packed: bool) -> int:
    """The size of a file, of a packed one about what it unpacks to."""
    return path.stat().st_size * (4 if packed else 1)


def find_encoding(path: Path, packed: bool, head: bytes, told: str) -> str:
    """How the file is encoded: as is told, as its first bytes say, UTF-8, or Windows-1252 where none of it is UTF-8.

    Raises `DataError` with the line of a byte that is in no encoding of the whole file.
    """
    if told != "auto":
        check_encoding(path, packed, told)
        return told
    for mark, name in ENCODINGS.items():
        if head.startswith(mark):
            check_encoding(path, packed, name)
            return name
    line, wide = 1, 0
    with open_unpacked(path, packed) as file:
        for data in blocks(file):
            try:
                wide += len(data) - len(data.decode("utf-8").encode("ascii", "ignore")) if not data.isascii() else 0
            except UnicodeDecodeError as error:
                line += data[: error.start].count(b"\n")
                if wide or re.search(rb"[\xc3-\xdf][\x80-\xbf]", data[: error.start]):
                    hint = "Other lines are UTF-8. Mend this line, or say dataset.encoding=latin-1."
                    raise DataError(
                        f"{path}: line {line}: byte {data[error.start]:#04x} is not UTF-8. {hint}"
                    ) from None
                check_encoding(path, packed, "cp1252")
                return "cp1252"
            line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))
    return "utf-8"


def check_encoding(path: Path, packed: bool, encoding: str) -> None:
    """Raise `DataError` for an encoding that is not known, or with the line that is not in it."""
    line = 1
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that give no text
        decoder = codecs.getincrementaldecoder(encoding)()
        with open_unpacked(path, packed) as file:
            while data := file.read(BLOCK):
                line += decoder.decode(data).count("\n")
            decoder.decode(b"", final=True)
    except LookupError:
        what = f"dataset.encoding: there is no encoding {encoding!r}."
        raise DataError(f"{what} Try utf-8, latin-1, cp1252 or utf-16.") from None
    except UnicodeDecodeError as error:
        line += error.object[: error.start].decode(encoding, "ignore").count("\n")
        what = f"byte {error.object[error.start]:#04x} is not of the encoding {encoding} ({error.reason})"
        raise DataError(f"{path}: line {line}: {what}. Is it a text? dataset.encoding names another one.") from None


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file in blocks that end with a line."""
    while data := file.read(BLOCK):
        yield data if data.endswith(b"\n") else data + file.readline()


def comments_before(text: str) -> int:
    """The lines at the beginning that begin with `#` and have fewer delimiters than the first line that does not."""
    lines = text.lstrip("\ufeff").split("\n")[:LISTED_LINES]
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    most = [max(line.count(sign) for sign in DELIMITERS) for line in lines[: count + 1]]
    return count if count and max(most[:count]) < most[count] else 0


def delimiter_of(text: str, path: Path) -> str:
    """The delimiter that stands most often in the first line, outside of quotes; none for a file of one column."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    first = re.sub(r'"[^"]*"', "", text.lstrip("\ufeff\r\n").split("\n", 1)[0])
    counts = {sign: first.count(sign) for sign in DELIMITERS}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] else NO_DELIMITER


def first_records(text: str, delimiter: str) -> list[list[str]]:
    """The first rows, as far as the head of the file holds them whole."""
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), delimiter=delimiter):
            if cells and any(cell.strip() for cell in cells):
                rows.append(cells)
            if len(rows) > 100:
                break
    except csv.Error:
        pass  # a quote that is not closed is reported where all is read
    return rows or [[""]]


def is_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: none of its cells is a number or a date."""
    cells = [cell.strip() for cell in rows[0]]
    return not any(cell and (number_format([cell]) is not None or date_formats([cell], [1])) for cell in cells)


def headers(cells: list[str], path: Path) -> list[str]:
    """The names of the columns. Raises `DataError` for one that stands twice."""
    names = [cell.strip() for cell in cells]
    empty = [i for i, name in enumerate(names) if not name]
    for i in empty if len(empty) > 1 else []:
        names[i] = f"column {i + 1}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        places = ", ".join(str(i + 1) for i, name in enumerate(names) if name == twice[0])
        raise DataError(f"{path}: the header has {twice[0]!r} twice (columns {places}). Rename one of them.")
    return names


def check_widths(layout: Layout) -> None:
    """Raise `DataError` with the first line that has another number of cells than the first line."""
    width = len(layout.names)
    if width == 1:
        return
    sign = layout.delimiter.encode()
    if layout.encoding != "utf-16" and len(sign) == 1:
        with open_unpacked(layout.path, layout.packed) as file:
            if all(b'"' not in data and are_even(data, sign, width) for data in blocks(file)):
                return
    with open_unpacked(layout.path, layout.packed) as file, io.TextIOWrapper(file, layout.encoding, newline="") as text:
        for _ in range(layout.comments):
            text.readline()
        reader = csv.reader(text, delimiter=layout.delimiter, strict=False)
        begin = first = 1 + layout.comments
        try:
            for cells in reader:
                if len(cells) != width and reader.line_num + layout.comments > begin and text.read(1) == "":
                    raise DataError(f"{layout.path}: a quote that opens in line {begin} is not closed.")
                if len(cells) != width and any(map(str.strip, cells)):
                    what = f"line {begin} has {count_of(len(cells), 'cell')}, but the first line has {width}"
                    if begin == first + 1 and layout.header and len(cells) == width + 1:
                        what += ": the header is shorter than its rows"
                    raise DataError(f"{layout.path}: {what}.")
                begin = reader.line_num + 1 + layout.comments
        except csv.Error as error:  # a cell of more than 131,072 characters
            raise DataError(f"{layout.path}: line {begin}: {error}.") from None


def are_even(data: bytes, sign: bytes, width: int) -> bool:
    """Whether each line without quotes has `width` cells, or nothing in it."""
    codes = np.frombuffer(data if data.endswith(b"\n") else data + b"\n", np.uint8)
    places = np.flatnonzero((codes == sign[0]) | (codes == ord("\n")))  # where a cell ends
    last = np.flatnonzero(codes[places] == ord("\n"))  # cells of their lines
    ends = places[last]
    begins = np.append(0, ends[:-1] + 1)
    uneven = np.flatnonzero(np.diff(last, prepend=-1) != width)
    return all(not data[begins[line] : ends[line]].strip() for line in uneven.tolist())

"""CSV files of a text and its label: which columns hold them, and their rows, each with its line.

A row is taken as a header where one of its cells is a usual word for a text (`TEXT_WORDS`) and another one is a
usual word for a label (`LABEL_WORDS`), or where it has two cells and the second is a word for a label. Then columns
are found by name, in any order and among others; without a header a file has two columns, text and label.
The delimiter is a comma, or, where the first line has none, a semicolon or a tabulator. No torch here.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlrun.data.files import Faults, check_utf8, read_unpacked
from dlrun.errors import DataError

# In the order of preference, for a header that has several of them.
TEXT_WORDS = (
    *("name", "surname", "last_name", "lastname", "family_name", "familyname", "full_name", "fullname"),
    *("text", "sentence", "word", "string", "first_name", "firstname", "given_name", "forename"),
)
LABEL_WORDS = (
    *("country", "nationality", "label", "class", "category", "language", "lang", "origin", "target"),
    *("country_of_origin", "ethnicity", "nation", "labels", "classes"),
)
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tabulator"}
HEAD = 1 << 16  # bytes in which the first line is looked for
MOST_ROWS = 2_000_000  # all of them are kept in memory


@dataclass(frozen=True)
class Columns:
    """Where text and label stand among the `width` cells of a row, and the header that says so, if there is one."""

    text: int = 0
    label: int = 1
    width: int = 2
    header: tuple[str, ...] | None = None

    def words(self, roles: tuple[str, str]) -> str:
        """For a note: which columns are used, which are not."""
        if self.header is None:
            return f"no header, so the columns are {roles[0]} and {roles[1]}"
        used = f"{roles[0]} from {self.header[self.text]!r}, {roles[1]} from {self.header[self.label]!r}"
        rest = [repr(name) for i, name in enumerate(self.header) if i not in (self.text, self.label)]
        return f"header found: {used}" + (f"; not used: {', '.join(rest)}" if rest else "")


@dataclass
class CsvRows:
    """The rows of one file: `read` yields (line, text, label), and then `columns` and `skipped` are known.

    `roles` are the words for text and label in messages, such as name and country.
    """

    path: Path
    roles: tuple[str, str]
    header: bool | str = "auto"
    delimiter: str = ","
    columns: Columns | None = None
    faults: Faults = field(init=False)
    skipped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.faults = Faults(str(self.path))

    def read(self) -> Iterator[tuple[int, str, str]]:
        """The rows, cells as they stand. What is wrong with a line is added to `faults`."""
        data = read_unpacked(self.path)
        self.delimiter = find_delimiter(data)
        count = 0
        for line, cells in self._records(data):
            if not any(cell.strip() for cell in cells) and len(cells) < 2:
                self._skip("blank line")
                continue
            if self.columns is None:
                self.columns = find_columns(cells, self.header, str(self.path))
                if self.columns.header is not None:
                    continue
            if len(cells) != self.columns.width:
                self.faults.add(f"line {line}: {self._width(cells)}")
            elif self._is_header(cells, line):
                self._skip("repeated header")
            else:
                count += 1
                if count > MOST_ROWS:
                    raise DataError(f"{self.path}: has more than {MOST_ROWS:,} rows, the most that are kept in memory.")
                yield line, cells[self.columns.text], cells[self.columns.label]

    def notes(self) -> list[str]:
        """What was taken as header and columns, and what was left out."""
        if self.columns is None:
            return []
        skipped = ", ".join(f"{count} {what}{'s' * (count > 1)}" for what, count in self.skipped.items())
        by = f"; separated by {DELIMITERS[self.delimiter]}s" if self.delimiter != "," else ""
        return [f"{self.path}: {self.columns.words(self.roles)}{by}" + (f"; skipped: {skipped}" if skipped else "")]

    def _records(self, data: bytes) -> Iterator[tuple[int, list[str]]]:
        """(line on which it begins, cells) of each record."""
        reader = csv.reader(_lines(data), strict=True, delimiter=self.delimiter)
        begin = 1
        try:
            for cells in reader:
                yield begin, cells
                begin = reader.line_num + 1
        except UnicodeDecodeError:
            check_utf8(data, str(self.path))
            raise AssertionError("what is sound line by line is sound as a whole") from None
        except csv.Error as error:
            opened = _open_quote(data, begin, reader.line_num)
            quote = f"the quote that opens here is not closed by line {reader.line_num} " if opened else ""
            self.faults.add(f"line {opened or reader.line_num}: {quote}{f'({error})' if quote else error}")

    def _is_header(self, cells: list[str], line: int) -> bool:
        """Is it the header again? Another header would change the columns: that is a fault."""
        assert self.columns is not None
        if self.columns.header is not None and tuple(cells) == self.columns.header:
            return True
        if not any(normal_word(cells[i]) in LABEL_WORDS for i in (self.columns.text, self.columns.label)):
            return False
        again = _by_words(cells)
        if again is None or self.header is False:
            return False
        if (again.text, again.label) != (self.columns.text, self.columns.label):
            self.faults.add(f"line {line}: another header, {','.join(cells)}, which changes the columns")
        return True

    def _skip(self, what: str) -> None:
        self.skipped[what] = self.skipped.get(what, 0) + 1

    def _width(self, cells: list[str]) -> str:
        assert self.columns is not None
        wanted = ",".join(self.columns.header or self.roles)
        return f"{len(cells)} field{'s' * (len(cells) > 1)}, expected {self.columns.width} ({wanted})"


def find_columns(first: list[str], header: bool | str = "auto", where: str = "") -> Columns:
    """The columns that the first row tells; `header` true or false decides what the rule would (auto).

    Raises `DataError` for a header of three columns or more in which no text or no label is found.
    """
    named = None if header is False else _by_words(first)
    if named is None and len(first) == 2 and header is not False and (header is True or _is_label(first[1])):
        named = Columns(0, 1, 2, tuple(first))
    if named is None and header is True:
        raise DataError(
            f"{where}: the header {','.join(first)} names no column of texts ({', '.join(TEXT_WORDS[:4])}, ...) or of "
            f"labels ({', '.join(LABEL_WORDS[:4])}, ...). Rename two columns to name and country."
        )
    return named or Columns()


def _by_words(cells: list[str]) -> Columns | None:
    """A header by its words, in any order and among others."""
    words = [normal_word(cell) for cell in cells]
    texts = [word for word in TEXT_WORDS if word in words]
    labels = [word for word in LABEL_WORDS if word in words]
    if not texts or not labels:
        return None
    return Columns(words.index(texts[0]), words.index(labels[0]), len(cells), tuple(cells))


def _is_label(cell: str) -> bool:
    return normal_word(cell) in LABEL_WORDS


def normal_word(cell: str) -> str:
    """`Last name ` as last_name."""
    return "_".join(re.findall(r"\w+", cell.casefold())) if len(cell) < 40 else cell


def find_delimiter(data: bytes) -> str:
    """The delimiter of the first line: a comma, or, where it has none, a semicolon or a tabulator."""
    first = data[:HEAD].lstrip().partition(b"\n")[0].partition(b"\r")[0].decode("utf-8", "replace")
    return next((sign for sign in DELIMITERS if sign in first), ",")


def _lines(data: bytes) -> io.TextIOWrapper:
    """Decoded line by line: the whole text as `str` may take four times the memory."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")


def _open_quote(data: bytes, begin: int, end: int) -> int:
    """The line from `begin` on where a quote opens that is still open at `end`'s beginning; 0 if there is none."""
    opened = 0
    for number, line in enumerate(_lines(data), start=1):
        if number > end:
            break
        if number < begin:
            continue
        if number == end and opened:
            return opened
        for _ in range(line.replace('""', "").count('"')):  # a doubled quote is a letter
            opened = 0 if opened else number
    return opened

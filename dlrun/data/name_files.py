"""Files of names and countries, read strictly: CSV, a folder of texts, the PyTorch tutorial's archive.

Every reader gives `Row(name, country, line)` in the order of the file, or raises `DataError` with the numbers
of the first bad lines. Nothing is guessed: "Null" and "NA" are names (T38), an undecodable byte is an error.
No torch here.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from dlrun.data.csv_files import TEXT_WORDS, CsvRows
from dlrun.data.files import Faults, check_utf8, open_data_file, read_unpacked
from dlrun.errors import DataError

# fmt: off
COUNTRIES = [
    "Arabic", "Chinese", "Czech", "Dutch", "English", "French", "German", "Greek", "Irish", "Italian",
    "Japanese", "Korean", "Polish", "Portuguese", "Russian", "Scottish", "Spanish", "Vietnamese",
]
# fmt: on
ARCHIVE_URL = "https://download.pytorch.org/tutorial/data.zip"
LONGEST = 200  # characters: one absurd line must not widen the tensor of all names
MEMBER = re.compile(r"(?:^|/)names/([^/]+)\.txt$")
LARGEST_MEMBER = 16 * 2**20  # bytes, unpacked; the tutorial's largest is a hundredth of it
ROLES = ("name", "country")


class NameRow(NamedTuple):
    """A name, its country, and the line of its file (1 = the first)."""

    name: str
    country: str
    line: int


class NameFile(NamedTuple):
    """What a CSV held, and notes on how it was read."""

    rows: list[NameRow]
    notes: list[str]
    header: bool


def read_csv(path: Path, header: bool | str = "auto") -> NameFile:
    """The rows of a CSV or CSV.gz of names and countries, UTF-8, as `csv_files` finds its columns.

    Raises `DataError` for a file that is missing, damaged, undecodable or empty, and for rows that have another
    number of fields or nothing in one (line numbers of the first ten).
    """
    source = CsvRows(path, ROLES, header)
    rows: list[NameRow] = []
    countries: dict[str, str] = {}  # one string each, though a million rows name it
    for line, name, country in source.read():
        problem = _problem(name, country)
        if problem:
            source.faults.add(f"line {line}: {problem}")
        else:
            country = _clean(country)
            rows.append(NameRow(_clean(name), countries.setdefault(country, country), line))
    source.faults.refuse()
    if not rows:
        raise DataError(f"{path}: there is no row in it. Expected lines of name,country.")
    assert source.columns is not None
    return NameFile(rows, source.notes(), source.columns.header is not None)


def check_first_row(train: NameFile, test: list[NameRow], where: str) -> None:
    """Refuse a first row that looks like a header of unknown words: its country is in no other row, all others are."""
    if train.header:
        return
    first, *rest = train.rows
    counts = Counter(row.country for row in [*rest, *test[1:]])
    if rest and first.country not in counts and (min(counts.values()) > 1 or first.name.casefold() in TEXT_WORDS):
        raise DataError(
            f"{where}: is line {first.line} ({first.name},{first.country}) a header? Its country is in no other row. "
            "Say dataset.header=true, or false if it is a name and its country."
        )


def read_folder(folder: Path) -> list[NameRow]:
    """The rows of `Country.txt` files, one name a line, UTF-8. Raises `DataError` as `read_csv` does."""
    return _read_texts({file.stem: read_unpacked(file) for file in folder.glob("*.txt")}, str(folder))


def read_archive(path: Path) -> list[NameRow]:
    """The rows of the PyTorch tutorial's `data.zip`, read in place: nothing is unpacked, so nothing can be
    written outside a folder. The checksums of its members are verified.

    Raises `DataError` for a file that is no archive, damaged, or lacks one of the 18 countries.
    """
    hint = f"Delete it to download it again, or put {ARCHIVE_URL} there."
    try:
        with open_data_file(path) as file, zipfile.ZipFile(file) as archive:
            members = {m[1]: info for info in archive.infolist() if (m := MEMBER.search(info.filename))}
            missing = [country for country in COUNTRIES if country not in members]
            if missing:
                raise DataError(f"{path}: no names/{missing[0]}.txt in this archive. {hint}")
            large = [info.filename for info in members.values() if info.file_size > LARGEST_MEMBER]
            if large:
                raise DataError(f"{path}: {large[0]} is far too large to be a list of names. {hint}")
            texts = {country: archive.read(members[country]) for country in COUNTRIES}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"{path}: not a sound zip archive ({error}). {hint}") from error
    return _read_texts(texts, str(path))


def read_builtin() -> list[NameRow]:
    """The rows of the package's own corpus (see `dlrun/data/corpus/README.md`)."""
    with resources.as_file(resources.files("dlrun.data") / "corpus" / "names.csv") as path:
        return read_csv(path).rows


def _read_texts(texts: dict[str, bytes], where: str) -> list[NameRow]:
    rows: list[NameRow] = []
    faults = Faults(where)
    for country, data in sorted(texts.items()):
        check_utf8(data, f"{where}: {country}.txt")
        for number, line in enumerate(data.decode("utf-8-sig").splitlines(), start=1):
            problem = _problem(line, country) if line.strip() else ""
            if problem:
                faults.add(f"{country}.txt line {number}: {problem}")
            elif line.strip():
                rows.append(NameRow(_clean(line), _clean(country), number))
    faults.refuse()
    if not rows:
        raise DataError(f"{where}: there is no Country.txt with a name in it.")
    return rows


def _problem(name: str, country: str) -> str:
    """What is wrong with a row (the empty string when nothing is)."""
    for role, field in zip(ROLES, (name, country), strict=True):
        text = _clean(field)
        if not text:
            return f"the {role} is empty"
        if len(text) > LONGEST:
            return f"the {role} is longer than {LONGEST} characters"
        if "\n" in text or "\r" in text:
            return f"the {role} goes on in the next line: is a quote left open?"
        if not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text):
            return f"the {role} holds a control character"
    return ""


def _clean(text: str) -> str:
    """Without surrounding blanks, and composed, so that the two ways to write é are one letter."""
    return unicodedata.normalize("NFC", text.strip())

"""Files of names and countries, read strictly: CSV, a folder of texts, the PyTorch tutorial's archive.

Every reader gives `Row(name, country, line)` in the order of the file, or raises `DataError` with the numbers
of the first bad lines. Nothing is guessed: "Null" and "NA" are names (T38), an undecodable byte is an error.
No torch here.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

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
HEADER = ("name", "country")


class NameRow(NamedTuple):
    """A name, its country, and the line of its file (1 = the first)."""

    name: str
    country: str
    line: int


def read_csv(path: Path) -> list[NameRow]:
    """The rows of a CSV or CSV.gz of `name,country`, UTF-8, with or without that header row.

    Raises `DataError` for a file that is missing, damaged, undecodable or empty, and for rows that have not
    exactly two fields with something in them (line numbers of the first ten).
    """
    text = _decode(_read_bytes(path), str(path))
    rows: list[NameRow] = []
    bad: list[str] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if not fields or (not rows and not bad and tuple(f.strip().lower() for f in fields) == HEADER):
                continue  # a blank line, or the header
            problem = _problem(fields)
            if problem:
                bad.append(f"line {reader.line_num}: {problem}")
            else:
                rows.append(NameRow(_clean(fields[0]), _clean(fields[1]), reader.line_num))
    except csv.Error as error:
        bad.append(f"line {reader.line_num}: {error}")
    _refuse(str(path), bad)
    if not rows:
        raise DataError(f"{path}: there is no row in it. Expected lines of name,country.")
    return rows


def read_folder(folder: Path) -> list[NameRow]:
    """The rows of `Country.txt` files, one name a line, UTF-8. Raises `DataError` as `read_csv` does."""
    return _read_texts({file.stem: _read_bytes(file) for file in folder.glob("*.txt")}, str(folder))


def read_archive(path: Path) -> list[NameRow]:
    """The rows of the PyTorch tutorial's `data.zip`, read in place: nothing is unpacked, so nothing can be
    written outside a folder. The checksums of its members are verified.

    Raises `DataError` for a file that is no archive, damaged, or lacks one of the 18 countries.
    """
    hint = f"Delete it to download it again, or put {ARCHIVE_URL} there."
    try:
        with zipfile.ZipFile(path) as archive:
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
        return read_csv(path)


def _read_texts(texts: dict[str, bytes], where: str) -> list[NameRow]:
    rows: list[NameRow] = []
    bad: list[str] = []
    for country, data in sorted(texts.items()):
        text = _decode(data, f"{where}: {country}.txt")
        for number, line in enumerate(text.splitlines(), start=1):
            problem = _problem([line, country]) if line.strip() else ""
            if problem:
                bad.append(f"{country}.txt line {number}: {problem}")
            elif line.strip():
                rows.append(NameRow(_clean(line), _clean(country), number))
    _refuse(where, bad)
    if not rows:
        raise DataError(f"{where}: there is no Country.txt with a name in it.")
    return rows


def _read_bytes(path: Path) -> bytes:
    """The file's content, unpacked if it is gzip, whatever its name says."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    bad = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            bad.append(f"line {number}: byte {error.object[error.start]:#04x} is not UTF-8")
    _refuse(where, bad, "Save the file as UTF-8.")
    raise AssertionError("UTF-8 that is sound line by line is sound as a whole")


def _problem(fields: list[str]) -> str:
    """What is wrong with the fields of a row (the empty string when nothing is)."""
    if len(fields) != 2:
        return f"{len(fields)} field{'s' if len(fields) > 1 else ''}, expected 2 (name,country)"
    for field, kind in zip(fields, HEADER, strict=True):
        text = _clean(field)
        if not text:
            return f"the {kind} is empty"
        if len(text) > LONGEST:
            return f"the {kind} is longer than {LONGEST} characters"
        if any(unicodedata.category(char) == "Cc" for char in text):
            return f"the {kind} holds a control character"
    return ""


def _clean(text: str) -> str:
    """Without surrounding blanks, and composed, so that the two ways to write é are one letter."""
    return unicodedata.normalize("NFC", text.strip())


def _refuse(where: str, bad: list[str], hint: str = "") -> None:
    if bad:
        more = [f"and {len(bad) - 10} more"] if len(bad) > 10 else []
        lines = "\n".join(f"  {line}" for line in [*bad[:10], *more])
        raise DataError(f"{where}: {len(bad)} bad line{'s' if len(bad) > 1 else ''}.\n{lines}\n{hint}".rstrip())

"""A hundred awkward CSVs of names: a run of one step, or one error that names file and line, within time and memory."""

from __future__ import annotations

import gzip
import io
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.limited import some, trains_or_is_refused

TRAIN = ["device=cpu", "model=gru", "model.hidden_size=4", "dataset=names", "trainer=smoke", "trainer.max_steps=1"]
TABLE = ["device=cpu", "model=linear", "dataset=table", "dataset.baseline=none", "trainer=smoke", "trainer.max_steps=1"]
BEFORE = 10  # rows before the one that is awkward
Row = str | bytes

pytestmark = pytest.mark.usefixtures("quick")


def rows(count: int = 60) -> list[Row]:
    """name,country, of two countries; the same each time."""
    dice = random.Random(0)
    return [f"{''.join(dice.choices('abcdefghij', k=5))},{('Here', 'There')[i % 2]}" for i in range(count)]


def one(row: Row) -> Callable[[], list[Row]]:
    """A row among others."""
    return lambda: [*rows()[:BEFORE], row, *rows()[BEFORE:]]


def each(change: Callable[[str], str]) -> Callable[[], list[Row]]:
    """Every row, changed."""
    return lambda: [change(str(row)) for row in rows()]


# What the rows are, and what the error says, where N is the line of the awkward row; "" where it can be trained.
KINDS: dict[str, tuple[Callable[[], list[Row]], str]] = {
    "sound": (rows, ""),
    "one field": (one("Solo"), "line N: 1 field"),
    "three fields": (one("A,Here,x"), "line N: 3 fields, expected 2"),
    "no name": (one(",Here"), "line N: the name is empty"),
    "no country": (one("Anna, "), "line N: the country is empty"),
    "blank lines": (lambda: [row for pair in zip(rows(), ["", " "] * 30, strict=True) for row in pair], ""),
    "blanks around": (each(lambda row: f"  {row.replace(',', ' , ')}  "), ""),
    "an open quote": (one('"Anna,Here'), "line N: the quote that opens here is not closed"),
    "quotes in quotes": (one('"O""Neil, Jr.",Here'), ""),
    "a line end in a name": (one('"An\nna",Here'), "line N: the name goes on in the next line"),
    "a control character": (one("An\x1b[2Jna,Here"), "line N: the name holds a control character"),
    "a null byte": (one("An\0na,Here"), "line N: the name holds a control character"),
    "Latin-1": (one("Andr\xe9,Here".encode("latin-1")), "line N: byte 0xe9 is not UTF-8"),
    "half a letter": (one(b"Andr\xc3,Here"), "line N: byte 0xc3 is not UTF-8"),
    "a long name": (one("x" * 300 + ",Here"), "line N: the name is longer than 200 characters"),
    "a long line": (one("x" * 200_000 + ",Here"), "line N: field larger than field limit"),
    "many fields": (one("x," * 50_000), "line N: 50001 fields"),
    "letters of all kinds": (lambda: [f"{name},{'HT'[i % 2]}" for i, name in enumerate("Ørsted李娜Иван😀عمر" * 4)], ""),
    "a formula": (one("=cmd|' /C calc'!A0,Here"), ""),
    "the header again": (one("name,country"), ""),
    "another header": (one("country,name"), "line N: another header, country,name, which changes the columns"),
    "a country of one": (one("Anna,Elsewhere"), ""),
    "one country": (each(lambda row: f"{row.split(',')[0]},Here"), "every name of"),
    "no two alike": (lambda: [f"a,x{i}" for i in range(60)], "has two names"),
    "thousands of countries": (lambda: [f"a{i % 7},x{i // 2}" for i in range(20_000)], "10,000 different classes"),
    "a comma at the end": (each(lambda row: f"{row},"), "3 fields, expected 2"),
    "nothing": (list, "there is no row in it"),
    "two rows": (lambda: rows(2), "has two names"),
    "a hundred thousand rows": (lambda: rows(60) * 1700, ""),
    "tags": (one("<script>alert(1)</script>,Here"), ""),
}
VARIATIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "with a header": lambda data: b"name,country\n" + data,
    "with Windows' line ends and mark": lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
    "packed": lambda data: gzip.compress(data, mtime=0),
}
CASES = [(kind, variation) for kind in KINDS for variation in VARIATIONS]


def zipped() -> bytes:
    """A zip file with a CSV in it."""
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as file:
        file.writestr("names.csv", "a,Here\n")
    return packed.getvalue()


# Files that are no CSV of rows at all, and what the error says.
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "UTF-16": (lambda path: path.write_text("\n".join(map(str, rows())), encoding="utf-16"), "line 1: byte 0xff"),
    "a zip file": (lambda path: path.write_bytes(zipped()), "names.csv"),
    "noise": (lambda path: path.write_bytes(random.Random(0).randbytes(100_000)), "is not UTF-8"),
    "zeros": (lambda path: path.write_bytes(bytes(100_000)), "names.csv"),
    "a cut gzip": (lambda path: path.write_bytes(gzip.compress(b"a,Here\n" * 9)[:-9]), "cannot be read"),
    "a gzip bomb": (lambda path: path.write_bytes(gzip.compress(bytes(200 << 20), 1)), "the most that is read"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not a file"),
    "a pipe": (lambda path: os.mkfifo(path), "is a pipe or a device, not a file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "there is no such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "no file": (lambda path: None, "there is no such file"),
    "old line ends": (lambda path: path.write_text("\r".join(map(str, rows()))), ""),
    "semicolons": (lambda path: path.write_text("\n".join(map(str, rows())).replace(",", ";")), ""),
    "tabulators": (lambda path: path.write_text("\n".join(map(str, rows())).replace(",", "\t")), ""),
}


# What is said of them as tables, by kind, or by kind and variation.
TABLES = {
    "one field": "line N has 1 cell, but the first line has 2",
    "three fields": "line N has 3 cells, but the first line has 2",
    "an open quote": "a quote that opens in line N is not closed",
    "many fields": "line N has 50,001 cells, but the first line has 2",
    "Latin-1-with Windows' line ends and mark": "line N: byte 0xe9 is not of the encoding utf-8-sig",
    "half a letter-with Windows' line ends and mark": "line N: byte 0xc3 is not of the encoding utf-8-sig",
    "one country": "is one value, 'Here': there is nothing to learn",
    "thousands of countries": "10,000 different classes",
    "a comma at the end-with a header": "line 2 has 3 cells, but the first line has 2: the header is shorter",
    "nothing-plain": "names.csv: is empty",
    "nothing-with a header": "there is no row in it",
    "nothing-with Windows' line ends and mark": "there is no row in it",
    "nothing-packed": "names.csv: is empty",
    "a zip file": "line 2 has 1 cell, but the first line has 2",
    "noise": "is not of the encoding cp1252",
    "zeros": "there is no column 'column 2'",
    "a cut gzip": "is a damaged gzip file",
    "a gzip bomb": "there is no column 'column 2'",
    "a folder": "is a folder",
    "a pipe": "is a pipe or a device, not a file",
    "a link to nothing": "there is no such file",
    "a link to itself": "cannot be read",
    "no file": "there is no such file",
}


@pytest.mark.parametrize(("kind", "variation"), some(CASES, 17))
def test_rows(kind: str, variation: str) -> None:
    make, message = KINDS[kind]
    encoded = [row if isinstance(row, bytes) else row.encode() for row in make()]
    data = VARIATIONS[variation](b"".join(row + b"\n" for row in encoded))
    Path("names.csv").write_bytes(data)
    line = BEFORE + 1 + (variation == "with a header")
    trains_or_is_refused([*TRAIN, "dataset.train_path=names.csv"], message.replace("N:", f"{line}:"), "names.csv")


@pytest.mark.parametrize(("kind", "variation"), some(CASES, 17))
def test_rows_of_a_table(kind: str, variation: str) -> None:
    encoded = [row if isinstance(row, bytes) else row.encode() for row in KINDS[kind][0]()]
    Path("names.csv").write_bytes(VARIATIONS[variation](b"".join(row + b"\n" for row in encoded)))
    name, country = ("name", "country") if variation == "with a header" else ("column 1", "column 2")
    words = [*TABLE, "dataset.path=names.csv", f"dataset.target={country}", f"dataset.types={{{name}: category}}"]
    message = TABLES.get(f"{kind}-{variation}", TABLES.get(kind, ""))
    line = BEFORE + 1 + (variation == "with a header")
    trains_or_is_refused([*words, f"dataset.header={name == 'name'}"], message.replace("line N", f"line {line}"), "")


@pytest.mark.parametrize("kind", some([(kind,) for kind in OTHERS], 5))
def test_other_files_as_tables(kind: str) -> None:
    OTHERS[kind][0](Path("names.csv"))
    words = [*TABLE, "dataset.path=names.csv", "dataset.target=column 2", "dataset.types={column 1: category}"]
    trains_or_is_refused([*words, "dataset.header=false"], TABLES.get(kind, ""), "")


@pytest.mark.parametrize("kind", some([(kind,) for kind in OTHERS], 5))
def test_other_files(kind: str) -> None:
    make, message = OTHERS[kind]
    make(Path("names.csv"))
    trains_or_is_refused([*TRAIN, "dataset.train_path=names.csv"], message, "names.csv")

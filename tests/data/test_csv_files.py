"""CSV files of names as people have them: headers in other words, other orders and again; what is bad, by its line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from dlrun.data import csv_files, files, name_files
from dlrun.data.base import Data
from dlrun.data.files import read_unpacked
from dlrun.data.idx import read_idx
from dlrun.data.names import names
from dlrun.data.vocabulary import Vocabulary
from dlrun.errors import DataError

BODY = [(f"{first}{i}", country) for i, first in enumerate("ABCDEFGHIJ") for country in ("Here", "There")]


def load(path: Path, text: str | bytes, **keys: object) -> Data:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    options = {"seed": 0, "root": path.parent, "train_path": str(path), "test_fraction": 0.0, "val_fraction": 0.0}
    return names(**options | keys)  # type: ignore[arg-type]


def lines(*rows: tuple[str, ...], sign: str = ",") -> str:
    return "".join(sign.join(row) + "\n" for row in rows)


def pairs(data: Data) -> list[tuple[str, str]]:
    texts = Vocabulary.of(data.spec).inverse(data.train.inputs[0])
    return list(zip(texts, (data.spec.labels[i] for i in data.train.target), strict=True))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("surname,nationality", "name from 'surname', country from 'nationality'"),
        ("name,label", "name from 'name', country from 'label'"),
        ("text,label", "name from 'text', country from 'label'"),
        ("Family Name , Country of Origin", "name from 'Family Name ', country from ' Country of Origin'"),
        ("title,country", "name from 'title', country from 'country'"),
    ],
)
def test_a_header_in_other_words_is_no_row(header: str, said: str, tmp_path: Path) -> None:
    data = load(tmp_path / "a.csv", f"{header}\n{lines(*BODY)}")
    assert pairs(data) == BODY
    assert data.spec.labels == ("Here", "There")
    assert data.notes[1] == f"{tmp_path / 'a.csv'}: header found: {said}"


def test_columns_go_by_name_in_any_order_and_among_others(tmp_path: Path) -> None:
    turned = lines(("label", "name"), *(row[::-1] for row in BODY))
    assert pairs(load(tmp_path / "a.csv", turned)) == BODY
    wide = lines(("id", "class", "first_name", "surname"), *(("1", country, "Jo", name) for name, country in BODY))
    data = load(tmp_path / "b.csv", wide)
    assert pairs(data) == BODY
    assert data.notes[1].endswith("name from 'surname', country from 'class'; not used: 'id', 'first_name'")


def test_a_header_that_comes_again_and_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    text = "\ufeffsurname,nationality\n" + lines(*BODY[:10]) + "\n  \nSurname,Nationality\n" + lines(*BODY[10:]) + "\n"
    data = load(tmp_path / "a.csv", text)
    assert pairs(data) == BODY
    assert data.notes[1].endswith("; skipped: 3 blank lines, 1 repeated header")
    with pytest.raises(DataError, match="line 22: another header, nationality,surname, which changes the columns"):
        load(tmp_path / "a.csv", lines(("surname", "nationality"), *BODY, ("nationality", "surname")))


def test_two_columns_without_a_header_are_name_and_country(tmp_path: Path) -> None:
    data = load(tmp_path / "a.csv", lines(*BODY))
    assert pairs(data) == BODY
    assert data.notes[1] == f"{tmp_path / 'a.csv'}: no header, so the columns are name and country"
    # Words of a header may be names: Class is a German surname, Word an English one.
    for first in (("Class", "There"), ("Word", "Here"), ("Label", "There")):
        assert pairs(load(tmp_path / "a.csv", lines(first, *BODY))) == [first, *BODY]
    assert pairs(load(tmp_path / "a.csv", lines(("Solo", "Nowhere"), *BODY, ("Una", "Elsewhere"))))[0][1] == "Nowhere"


def test_a_first_row_that_may_be_a_header_is_asked_about(tmp_path: Path) -> None:
    text = lines(("Nachname", "Land"), *BODY)
    with pytest.raises(DataError, match=r"is line 1 \(Nachname,Land\) a header\? .*dataset\.header=true, or false"):
        load(tmp_path / "a.csv", text)
    assert pairs(load(tmp_path / "a.csv", text, header=True)) == BODY
    assert pairs(load(tmp_path / "a.csv", text, header=False)) == [("Nachname", "Land"), *BODY]
    assert pairs(load(tmp_path / "a.csv", lines(("name", "country"), *BODY), header=False))[0] == ("name", "country")
    (tmp_path / "test.csv").write_text("Nom,Pays\n" + lines(*BODY))
    with pytest.raises(DataError, match=r"country 'Pays' \(line 1\).*If line 1 is a header, say dataset.header=true"):
        load(tmp_path / "a.csv", lines(*BODY), test_path=str(tmp_path / "test.csv"))
    with pytest.raises(DataError, match="the header id,wert,x names no column of texts"):
        load(tmp_path / "a.csv", lines(("id", "wert", "x"), ("1", "2", "3")), header=True)


@pytest.mark.parametrize(("sign", "word"), [(";", "semicolons"), ("\t", "tabulators")])
def test_other_delimiters(sign: str, word: str, tmp_path: Path) -> None:
    data = load(tmp_path / "a.csv", lines(("name", "country"), *BODY, sign=sign))
    assert pairs(data) == BODY
    assert data.notes[1].endswith(f"; separated by {word}")


def test_countries_that_differ_in_case_or_spacing_are_said(tmp_path: Path) -> None:
    data = load(tmp_path / "a.csv", lines(*BODY, ("Smith", "english"), ("Jones", "English"), ("Li", "Far  There")))
    said = "the labels 'English' and 'english' differ in case or spacing alone, but are classes of their own"
    assert [note for note in data.notes if "spacing" in note] == [said]
    assert said in data.remarks
    spaced = load(tmp_path / "a.csv", lines(*BODY, ("Li", "Far  There"), ("Lu", "Far There")))
    assert any("'Far  There' and 'Far There' differ" in note for note in spaced.remarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,X\n"b,X\nc,Y\nd,Y\n', r"line 2: the quote that opens here is not closed by line 4"),
        ('a,X\n"b,X\nc,Y\n"d",Y\n', r"line 2: the quote that opens here is not closed by line 4"),
        ('a,X\n"b,X\nc,Y\nd",Y\n', r"line 2: the name goes on in the next line: is a quote left open\?"),
        ('"a\nb","X\nc,Y\n', r"line 2: the quote that opens here is not closed by line 3"),
        ('"a ""b"" c",X\n"d""e,X\nf,Y\n', r"line 2: the quote that opens here is not closed by line 3"),
        ("a,X\nb,X\n" + '"c' + "x" * 200_000 + "\n", r"line 3: the quote that opens here .*field larger"),
        ("a,X\n" + "b" * 200_000 + "\n", r"line 2: field larger than field limit"),
        ("surname,nationality\na,X\nb\n", r"line 3: 1 field, expected 2 \(surname,nationality\)"),
        ("a,X\nb\0,X\n", "line 2: the name holds a control character"),
    ],
)
def test_what_is_bad_is_said_where_it_begins(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.csv", text)


def test_rows_know_the_line_on_which_they_begin(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name,country\n\n1,a,X\n2,b,Y\n")
    assert [row.line for row in name_files.read_csv(tmp_path / "a.csv").rows] == [3, 4]


# --- bounds


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path, message in (
        (tmp_path / "pipe.csv", "is a pipe or a device, not a file"),
        (Path("/dev/zero"), "is a pipe or a device, not a file"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "no\0thing", "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            name_files.read_csv(path)
    with pytest.raises(DataError, match="pipe or a device"):
        name_files.read_archive(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="pipe or a device"):
        read_idx(tmp_path / "pipe.csv", 1)
    os.mkfifo(tmp_path / "Czech.txt")
    with pytest.raises(DataError, match="pipe or a device"):
        name_files.read_folder(tmp_path)


def test_no_more_is_unpacked_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.csv").write_bytes(gzip.compress(bytes(1 << 22)))
    assert len(read_unpacked(tmp_path / "bomb.csv")) == 1 << 22
    with pytest.raises(DataError, match="holds more than 2 MiB unpacked, the most that is read"):
        read_unpacked(tmp_path / "bomb.csv", 2 << 20)
    (tmp_path / "plain.csv").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(DataError, match="holds more than 1 MiB, the most that is read"):
        read_unpacked(tmp_path / "plain.csv", 1 << 20)
    assert files.MOST_BYTES == 128 << 20
    monkeypatch.setattr(csv_files, "MOST_ROWS", 15)
    with pytest.raises(DataError, match="has more than 15 rows"):
        load(tmp_path / "a.csv", lines(*BODY))


def test_more_classes_than_can_be_told_apart_are_refused_at_once(tmp_path: Path) -> None:
    text = "".join(f"a{i % 7},x{i // 2}\n" for i in range(20_000))
    with pytest.raises(DataError, match=r"10,000 different classes in 20,000 rows, but at most 4,096.*the classes\?"):
        load(tmp_path / "a.csv", text, test_fraction=0.2)
    with pytest.raises(DataError, match=r"no country of .*a\.csv has two names"):
        load(tmp_path / "a.csv", "".join(f"a,x{i}\n" for i in range(100)), test_fraction=0.2)

"""`dlrun inspect`: columns, duplicates, dirt, texts, and the command that it ends with; torch is not imported."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dlrun.checks.inspect import inspect_files
from dlrun.cli import main
from dlrun.config.compose import compose

HOUSES = """id,price,rooms,sold,town,note,zip
1,$1200.50,3,2013-08-20,Rome,sunny with a view,01234
2,$900,2,2014-01-02,Oslo,close to the sea,20001
3,$1100,3,2014-01-05,Rome,with a garden and,01234
4,,2,2014-02-01,Oslo,third floor here,20001
5,$1000,4,2014-02-02, ROME ,sunny with a view,01234
6,$1100.0000001,3,2014-01-05,rome,with a garden and,01234
"""


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["inspect", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def columns(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in facts["columns"]}


def test_columns_with_type_range_missing_and_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = found(capsys, write(tmp_path / "houses.csv", HOUSES), "--target", "price")
    seen = columns(facts)
    assert {name: column["type"] for name, column in seen.items()} == {
        "id": "id", "price": "number", "rooms": "number", "sold": "date", "town": "category", "note": "category",
        "zip": "category",
    }  # fmt: skip
    assert (seen["price"]["missing"], seen["price"]["range"], seen["price"]["distinct"]) == (1, "900 to 1200.5", 5)
    assert seen["price"]["examples"] == ["$1200.50", "$900", "$1100"]
    assert seen["price"]["missing_share"] == pytest.approx(1 / 6)
    assert seen["sold"]["range"] == "2013-08-20 to 2014-02-02"
    assert seen["zip"]["why"] == "leading zeros"
    assert facts["target"] == {"name": "price", "task": "regression", "guessed": False, "missing": 1}
    assert facts["rows"] == 6


def test_rows_that_are_there_twice_exactly_and_in_their_normal_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sixth row repeats the third but for its id, the case of a word, and the tenth digit of the price."""
    path = write(tmp_path / "houses.csv", HOUSES)
    assert found(capsys, path)["duplicates"] == {"exact": 0, "normal_form": 1}
    write(tmp_path / "houses.csv", HOUSES + HOUSES.splitlines()[1] + "\n")
    facts = found(capsys, path)  # now the number in front is there twice, and names no row
    assert (columns(facts)["id"]["type"], facts["duplicates"]) == ("number", {"exact": 1, "normal_form": 1})


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("1.00000049", "1.0000004", True),
        ("1.00001", "1.00002", False),
        ("1e300", "1.0000001e300", True),
        ("0", "-0", True),
        ("1e-320", "2e-320", False),
        ("123456.4", "123456.3", True),
        ("NA", "", True),
    ],
)
def test_numbers_are_compared_by_six_digits(
    first: str, second: str, same: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.csv", f"a,b\n{first},5\n{second},5\n7,5\n8,6\n9,3\n2,1\n")
    assert found(capsys, path)["duplicates"] == {"exact": 0, "normal_form": int(same)}


def test_texts_are_compared_by_letters_and_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"text number {word} of all,{word % 2}" for word in range(60)]
    more = ["Text, number... 7 of ALL!", "text number 61 of all"]
    table = "\n".join(
        ["words,of,y", *(line.replace(",", ",a,") for line in lines), f'"{more[0]}",a,1', f"{more[1]},a,0"]
    )
    facts = found(capsys, write(tmp_path / "x.csv", table))
    assert columns(facts)["words"]["type"] == "text"
    assert facts["duplicates"] == {"exact": 0, "normal_form": 1}


def test_the_command_at_the_end_composes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "my houses, old.csv", HOUSES.replace("price", "price (€)"))
    facts = found(capsys, path, "--target", "price (€)", "dataset.delimiter=,", "dataset.types={zip: number}")
    assert columns(facts)["zip"]["type"] == "number"
    words = shlex.split(facts["command"])
    assert words[0] == "dlrun"
    config = compose(words[1:], search_cwd=False)
    assert (config.dataset.path, config.dataset.target) == (path, "price (€)")
    assert config.section("dataset")["types"] == {"zip": "number"}


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("a,target,b", "target"),
        ("Class,a,b", "Class"),
        ("a,b,c", "c"),
        ("price,a,y", "y"),
        ("a,Species,price", "Species"),
    ],
)
def test_the_likely_target_is_told_by_its_header_else_the_last(
    header: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = found(capsys, write(tmp_path / "x.csv", f"{header}\n1,2,3\n4,1,9\n4,2,3\n"))
    assert (facts["target"]["name"], facts["target"]["guessed"]) == (target, True)


def test_the_balance_of_classes_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 7}.5,{'abcdefghijklmnop'[min(i % 40, 15)]}" for i in range(400)]
    assert main(["inspect", write(tmp_path / "x.csv", "\n".join(["x,kind", *rows]))]) == 0
    out = capsys.readouterr().out
    assert "x.csv: 400 rows, 2 columns\n" in out
    lines = [line.split() for line in out.splitlines()]
    begin = lines.index(["kind", "(classification)"])
    assert lines[begin + 1 : begin + 4] == [["class", "rows", "share"], ["p", "250", "62.5%"], ["a", "10", "2.5%"]]
    assert ["4", "other", "classes,", "10", "each", "40", "10.0%"] in lines
    assert out.endswith(f"To train on it:\n    dlrun dataset=table dataset.path={tmp_path}/x.csv dataset.target=kind\n")


def test_whole_numbers_that_may_be_classes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.csv", "x,quality\n" + "".join(f"{i}.5,{i % 3 + 3}\n" for i in range(90)))
    facts = found(capsys, path)
    assert facts["target"]["task"] == "regression"
    assert any("dataset.task=classification" in remark for remark in facts["remarks"])
    facts = found(capsys, path, "dataset.task=classification")
    assert facts["target"]["classes"] == {"3": 30, "4": 30, "5": 30}
    assert "dataset.task=classification" in facts["command"]


def test_types_from_a_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "houses.csv", HOUSES)
    schema = write(
        tmp_path / "schema.yaml", "columns: {zip: {type: number}, rooms: {type: category}, town: {left_out: true}}"
    )
    facts = found(capsys, path, f"dataset.schema={schema}")
    assert [columns(facts)[name]["type"] for name in ("zip", "rooms")] == ["number", "category"]
    assert f"dataset.schema={schema}" in facts["command"]


def test_a_date_that_can_be_read_both_ways_is_no_error_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.csv", "when,y\n03/04/2020,1.5\n05/06/2020,2.5\n01/01/2020,7\n")
    facts = found(capsys, path)
    assert columns(facts)["when"]["range"] == "2020-01-01 to 2020-06-05"
    assert any("may be day or month first" in remark for remark in facts["remarks"])
    assert facts["command"].endswith("'dataset.types={when:dmy}'")
    facts = found(capsys, path, "dataset.types={when: mdy}")
    assert columns(facts)["when"]["range"] == "2020-01-01 to 2020-05-06"


# content, what of the error is said (nothing: it works), and a column that must be found
DIRT: dict[str, tuple[bytes, str, str]] = {
    "BOM": (b"\xef\xbb\xbfa,b\n1.5,2\n2.5,3\n", "", "a"),
    "UTF-16": ("a,b\n1.5,2\n2.5,3\n".encode("utf-16"), "", "a"),
    "CRLF": (b"a,b\r\n1.5,2\r\n2.5,3\r\n", "", "b"),
    "semicolons": (b"a;b\n1,5;2\n2,5;3\n", "", "a"),
    "gzip": (gzip.compress(b"a,b\n1.5,2\n2.5,3\n"), "", "a"),
    "Windows-1252": ("straße,b\n1.5,ä\n2.5,ö\n".encode("cp1252"), "", "straße"),
    "an empty column": (b"a,empty,b\n1.5,,2\n2.5,,3\n", "", "empty"),
    "one class": (b"a,b\n1.5,x\n2.5,x\n", "", "b"),
    "one row": (b"a,b\n1.5,2\n", "", "a"),
    "only ids": (b"id,row_id\n5,2\n9,3\n11,8\n", "", "id"),
    "all empty": (b"a,b\n,\n,\n", "", "a"),
    "10,000 categories": (b"a,b\n" + b"".join(b"%d.5,k%d\n" % (i, i % 10_000) for i in range(20_000)), "", "b"),
    "controls": (b"a\x1b[31m,b\n1,2\n3,9\n", "", "a\x1b[31m"),
    "nothing": (b"", "is empty", ""),
    "a header alone": (b"a,b\n", "there is no row", ""),
    "an open quote": (b'a,b\n1,2\n"3,4\n5,6\n', "line 3", ""),
    "a duplicate header": (b"a,b,a\n1,2,3\n", "'a' twice (columns 1, 3)", ""),
    "a long row": (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells", ""),
    "a long row and a short one": (b"a,b\n1,2,3\n4\n5,6\n", "line 2 has 3 cells", ""),
    "blank lines": (b"a,b\n\n1,2\n\r\n3.5,4\n\n", "", "a"),
    "mixed encodings": ("a,b\n1,ä\n".encode() + "2,ö\n".encode("cp1252"), "line 3", ""),
    "a BOM before Windows-1252": (
        b"\xef\xbb\xbfa,b\n1,\xe4\n",
        "line 2: byte 0xe4 is not of the encoding utf-8-sig",
        "",
    ),
    "bytes": (b"\x89PNG\r\n\x1a\n\x8d\x00,\xff", "line 3: byte 0x8d is not of the encoding cp1252", ""),
    "half of UTF-16": ("a,b\n1,2\n".encode("utf-16")[:-1], "line 2", ""),
    "beyond all floats": (b"a,b\n1e999,2\n2.5,3\n" + b"3.5,4\n" * 30, "", "a"),
    "half of a gzip": (gzip.compress(b"a,b\n1.5,2\n" * 99)[:-12], "is a damaged gzip file", ""),
    "no JSON": (b'{"a": 1}\n{"a": \n', "line 2", ""),
}


@pytest.mark.parametrize("name", DIRT)
def test_dirt_works_or_is_one_clear_error(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, said, column = DIRT[name]
    path = write(tmp_path / ("x.jsonl" if name == "no JSON" else "x.csv"), data)
    if not said:
        assert column in columns(found(capsys, path))
        assert main(["inspect", path]) == 0
        assert "\x1b" not in capsys.readouterr().out
        return
    assert main(["inspect", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error:\n")
    assert path in err
    assert said in err
    assert "Traceback" not in err


def test_half_of_a_surrogate_pair_is_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": "\\ud800", "b": 1.5}\n{"a": "y", "b": 2}\n{"a": "y", "b": 2}\n')
    assert found(capsys, path)["duplicates"] == {"exact": 1, "normal_form": 1}


@pytest.mark.parametrize(
    ("name", "why"),
    [("one class", "'b' has one value"), ("one row", "no column is fit"), ("only ids", "no column is fit")],
)
def test_what_cannot_be_learned_from_has_no_command(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--target", "b"] if name == "one class" else []
    facts = found(capsys, write(tmp_path / "x.csv", DIRT[name][0]), *words)
    assert facts["command"] is None
    assert why in facts["remarks"][-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.csv"], "gone.csv: there is no such file"),
        (["no*.csv"], "no file has such a name"),
        (["x.csv", "--target", "prize"], "--target: there is no column 'prize'. Did you mean price?"),
        (["x.csv", "dataset.types={prize: number}"], "dataset.types: there is no column 'prize'"),
        (["x.csv", "dataset.types={price: numbr}"], "there is no type 'numbr'"),
        (["x.csv", "dataset.delimeter=;"], "Did you mean dataset.delimiter?"),
        (["x.csv", "dataset.target=[price,a]"], "dataset.target: is one column here"),
        (["x.png"], "x.png: is an image. Name the folder"),
        ([""], "is a folder"),
        (["empty"], "/empty/*.csv'"),
        (["empty", "--target", "price"], "--target: does not go with a folder"),
        ([], "inspect: has too few words"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "x.csv", "a,price\n1.5,2\n7,3\n")
    assert main(["inspect", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_several_files_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write(tmp_path / f"{name}.csv", "x,y\n1.5,2\n7,3.5\n")
    assert found(capsys, "*.csv")["duplicates"] == {"exact": 2, "normal_form": 2}
    facts = found(capsys, "a.csv", "b.csv")
    assert facts["rows"] == 4
    assert "dataset.path=[a.csv,b.csv]" in facts["command"]


TEXTS = "".join(f"{word}{i},{'Japanese' if i % 2 else 'Dutch'}\n" for i, word in enumerate(["Sato", "Visser"] * 40))


@pytest.mark.parametrize(
    ("head", "rows", "more"), [("", 80, ""), ("name,country\n", 80, ""), ("comment,mood\n", 80, " dataset.header=true")]
)
def test_texts_with_labels(head: str, rows: int, more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.csv", head + TEXTS)
    facts = found(capsys, path)
    assert (facts["kind"], facts["rows"]) == ("texts", rows)
    assert facts["classes"] == {"Dutch": 40, "Japanese": 40}
    assert facts["command"] == f"dlrun model=gru dataset=names dataset.train_path={path}{more}"
    assert compose(shlex.split(facts["command"])[1:], search_cwd=False).dataset.train_path == path
    assert (facts["shortest"], facts["longest"]) == (5, 8)


def test_equal_texts_in_another_spelling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.csv", TEXTS + "ＳＡＴＯ-0,Dutch\n" + "Sato0,Japanese\n")
    assert found(capsys, path)["duplicates"] == {"exact": 0, "normal_form": 1}


def test_texts_that_training_would_refuse_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = found(capsys, write(tmp_path / "x.csv", TEXTS + "x" * 201 + ",Dutch\n"))
    assert "line 81: the name is longer than 200 characters" in facts["remarks"][-1]
    assert facts["command"] is None


@pytest.mark.parametrize("kind", ["table", "texts", "images"])
def test_the_command_trains(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i}.5,{'ab'[i % 2]},{i % 5}.25\n" for i in range(60))
    write(tmp_path / "table.csv", f"x,color,y\n{rows}")
    write(tmp_path / "texts.csv", TEXTS)
    draw_images(tmp_path / "images", 12)
    found = inspect_files([f"{kind}.csv" if kind != "images" else kind], plain_keys(), None, [])
    assert main([*found.command, "trainer=smoke", "device.threads=1", "run.dir=run", "--quiet"]) == 0
    assert f"dataset.{'train_' * (kind == 'texts')}path={kind}" in (tmp_path / "run/overrides.txt").read_text()
    assert (tmp_path / "run/checkpoints/best.pt").exists()


def plain_keys() -> dict[str, Any]:
    return compose(["dataset=table"], search_cwd=False).section("dataset")


def draw_images(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f"{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 9 * i).save(path)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    """Neither for tables, nor for texts, nor for images."""
    write(tmp_path / "x.csv", HOUSES)
    write(tmp_path / "texts.csv", TEXTS)
    draw_images(tmp_path / "images", 4)
    code = (
        "import sys\nfrom dlrun.cli import main\n"
        "codes = [main(['inspect', path]) for path in sys.argv[1:]]\n"
        "print(codes, {'torch', 'torchvision', 'matplotlib'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", code, *(str(tmp_path / name) for name in ("x.csv", "texts.csv", "images"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.endswith("[0, 0, 0] set()\n"), done

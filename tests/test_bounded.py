"""Files that explode, block or never end cost their own row, and a moment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from dlrun import bounded, cli
from dlrun.config.schema import yamls
from dlrun.errors import ConfigError
from dlrun.report.runs import list_runs
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_columns, read_json, read_yaml, try_read_text
from tests.helpers.runs_by_hand import make_run

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1, l: 2}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
EXPLOSIVE_YAML = {
    "5,000 brackets": "a: " + "[" * 5000 + "]" * 5000,
    "200,000 brackets": "[" * 200_000,
    "200,000 braces": "a: " + "{a: " * 200_000,
    "nested lists": "- " * 20_000 + "a",
    "nested questions": "? " * 20_000 + "a",
    "nested sections": "".join(f"{' ' * i}a:\n" for i in range(2000)),
    "nested sections, other line ends": "".join(f"{' ' * i}a:\r" for i in range(2000)),
    "brackets beside texts of brackets": "a: " + '["]", ' * 5000 + "]" * 5000,
    "a part of itself": "&a {x: *a}",
    "a list of itself": "a: &a [1, *a]",
    "an alias bomb": BOMB,
    "a bomb of merges": MERGES,
}
DAMAGED_YAML = {
    "a key that is a list": "? [1, 2]\n: 3\n",
    "a set": "a: !!set {x, y}\n",
    "bytes": "a: !!binary aGVsbG8=\n",
    "a date": "a: !!timestamp 2026-01-01\n",
    "an object": "a: !!python/object/apply:os.system [true]\n",
    "a number of 10,000 digits": "a: " + "1" * 10_000,
    "two documents": "a: 1\n---\nb: 2\n",
    "an unknown alias": "a: *b\n",
    "control characters": "a: \x1b\n",
}


ALL_YAML = EXPLOSIVE_YAML | DAMAGED_YAML


@pytest.mark.parametrize("text", ALL_YAML.values(), ids=ALL_YAML)
def test_yaml_that_explodes_or_is_damaged_is_one_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, newline="")
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        yamls.load_file(path)
    assert read_yaml(path) == {}
    assert time.process_time() - began < 2


def test_yaml_with_ordinary_aliases_and_deep_sections_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: {<<: *a, y: *a}\nc: " + "[" * 90 + "]" * 90 + "\n")
    assert read_yaml(path)["b"] == {"x": [1, 2], "y": {"x": [1, 2]}}


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, '{"a":' * 5000, '{"a": ' + "[" * 200_000, '{"a": "' + r"\"" * 100_000, '{"a": ' + "1" * 10_000],
    ids=["brackets", "braces", "200,000 brackets", "an open text", "digits"],
)
def test_json_that_explodes_or_is_damaged_is_empty(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    began = time.process_time()
    assert read_json(tmp_path / "a.json") == {}
    assert time.process_time() - began < 2


def test_brackets_in_texts_are_not_nested() -> None:
    assert not bounded.is_nested_deeply(json.dumps({"a": "[" * 5000, "b": ['\\"[[' * 5000]}))
    assert not bounded.is_nested_deeply("[1]," * 5000)
    assert bounded.is_nested_deeply('["]",' * 5000)


def test_json_holds_only_what_other_files_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"name": "caf\\udce9", "ok": "\\ud83d\\ude00", "seconds": NaN, "step": "x", "epoch": 3}')
    assert read_json(path) == {"name": "caf?", "ok": "😀", "seconds": None, "epoch": 3}


def test_a_table_with_an_endless_cell_is_empty(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,val_loss\n1," + "9" * 200_000 + "\n")
    assert read_columns(tmp_path / "metrics.csv") == {}


def test_only_ordinary_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text("x" * 101)
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none", Path("\0")):
        assert try_read_text(path) is None
        assert read_json(path) == read_yaml(path) == read_columns(path) == {}
    assert try_read_text(tmp_path / "long", most=100) is None
    with pytest.raises(OSError, match="most that is read"):
        bounded.read_bytes(tmp_path / "long", most=100)
    with pytest.raises(ConfigError, match="is a pipe or a device"):
        yamls.load_file(tmp_path / "pipe")


FILES = ["status.json", "summary.json", "environment.json", "config.yaml", "metrics.csv", "overrides.txt"]


@pytest.mark.parametrize("name", FILES)
def test_one_run_that_cannot_be_read_costs_one_row(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    for number, text in enumerate(["[" * 200_000, BOMB, "\0" * 100, None]):
        run = make_run(Path(f"outputs/bad{number}"))
        (run / name).unlink()
        os.mkfifo(run / name) if text is None else (run / name).write_text(text)
        assert StoredRun(run).state
    make_run(Path("outputs/good"))
    assert {entry.place for entry in list_runs(Path("outputs"))} == {"good", *(f"bad{number}" for number in range(4))}
    assert cli.main(["compare", "outputs"]) == 0
    assert cli.main(["report", "outputs/bad0"]) == 0
    assert "Traceback" not in capsys.readouterr().err

"""The contract grammar: what the comments of YAML files promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.config.schema.comments import read_option
from dlrun.config.schema.contract import Mismatch, format_yaml, parse_contract


def accept(contract: str, value: object) -> object:
    parsed = parse_contract(contract)
    assert parsed is not None, contract
    return parsed.accept(value)


@pytest.mark.parametrize(
    ("contract", "value", "becomes"),
    [
        ("float > 0", 1, 1.0),
        ("float > 0 or null", None, None),
        ("int >= 1", 1e3, 1000),
        ("int >= 1 or full", "full", "full"),
        ("bool", False, False),
        ("str", "x", "x"),
        ("path or null", "~/x.csv", str(Path("~/x.csv").expanduser())),
        ("list[int >= 1]", [64.0, 32], [64, 32]),
        ("list", ["M", 3], ["M", 3]),
        ("min | max | auto", "max", "max"),
        ("relu | tanh | list[str]", ["relu", "tanh"], ["relu", "tanh"]),
        ("int >= 0 or list[int >= 0] or same", "same", "same"),
        ("float >= 0 or list[float >= 0]", [1, 2], [1.0, 2.0]),
        ("int or float", 1, 1),
        ("dict", {"a": 1}, {"a": 1}),
        ("any", object, object),
        ("0 | 1", 1, 1),
        ("float > 0, < 1e-3", 1e-4, 1e-4),
    ],
)
def test_accepts(contract: str, value: object, becomes: object) -> None:
    result = accept(contract, value)
    assert result == becomes
    assert type(result) is type(becomes)


@pytest.mark.parametrize(
    ("contract", "value"),
    [
        ("float > 0", 0),
        ("float > 0", "0.1"),
        ("float > 0", True),
        ("float", float("nan")),
        ("float", float("inf")),
        ("float", 10**400),
        ("int >= 1", 1.5),
        ("int >= 1", False),
        ("int", None),
        ("bool", 1),
        ("bool", "yes"),
        ("str", 7),
        ("path", "a\0b"),
        ("list[int >= 1]", [64, 0]),
        ("list[int >= 1]", 64),
        ("min | max", "Min"),
        ("null", 0),
        ("true", 1),
        ("dict", []),
        ("float >= 0, < 1", 1.0),
    ],
)
def test_refuses(contract: str, value: object) -> None:
    with pytest.raises(Mismatch, match="must be"):
        accept(contract, value)


@pytest.mark.parametrize("text", ["see the paper", "list[", "list[int", "int > x", "int[str]", "", "float 3", "a or"])
def test_remarks_are_no_contracts(text: str) -> None:
    assert parse_contract(text) is None


def test_a_contract_reads_back_as_itself() -> None:
    for text in ("float > 0, < 1 or null", "int >= 1 or list[int >= 1] or same", "min | max", "list[int or null]"):
        contract = parse_contract(text)
        assert contract is not None
        assert parse_contract(str(contract)) == contract


def test_values_are_shown_as_they_are_written() -> None:
    assert format_yaml([1, None, True, {"a": 0.1}]) == "[1, null, true, {a: 0.1}]"
    assert format_yaml(1e-05) == "1e-05"
    assert format_yaml(0.1 + 0.2) == "0.30000000000000004"


def test_comments_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(
        "# @package model\n"
        "# dlrun model=mine\n"
        "# What it is,\n"
        "# in two lines.\n"
        "# takes: tabular, image\n"
        "# expect: 98 % (roughly)\n"
        "name: mine\n"
        'sign: "#"             # a sign (str)\n'
        "wide: 3               # a comment that goes on\n"
        "                      # in a second line (int >= 1)\n"
        "note: null            # a remark (not a contract, really) (str or null)\n"
        "early_stop:           # when to stop\n"
        "  patience: null      # how long to wait (int >= 1 or null)\n"
        "table: {a: 1}         # a table (dict)\n"
        "layers:               # what it is made of (list)\n"
        "  - linear: {out: 3}\n"
        "  - relu\n"
    )
    option = read_option(path, "model", "mine", tmp_path)
    assert option.command == "dlrun model=mine"
    assert option.description == "What it is, in two lines."
    assert option.headers == {"takes": "tabular, image", "expect": "98 % (roughly)"}
    assert list(option.keys) == ["name", "sign", "wide", "note", "early_stop.patience", "table", "layers"]
    assert option.keys["sign"].default == '"#"'
    assert option.keys["wide"].help == "a comment that goes on in a second line"
    assert str(option.keys["wide"].contract) == "int >= 1"
    assert str(option.keys["note"].contract) == "str or null"
    assert option.keys["note"].help == "a remark (not a contract, really)"
    assert str(option.keys["early_stop.patience"].contract) == "int >= 1 or null"

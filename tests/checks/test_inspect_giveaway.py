"""Columns that give the target away are found, honest strong ones and noise are not; groups are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.cli import main

Columns = dict[str, Any]
ROWS = 600


def told(path: Path, columns: Columns, capsys: pytest.CaptureFixture[str]) -> tuple[set[str], set[str]]:
    """The columns that give the target `y` away, and those that are groups."""
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    assert main(["inspect", str(path), "--target", "y", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["command"]
    return {each["column"] for each in facts["gives_away"]}, set(facts["groups"])


def draws(seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    """Normal numbers, classes of three, and rare classes of two."""
    random = np.random.default_rng(seed)
    return random, random.normal(size=ROWS), random.integers(0, 3, ROWS), (random.random(ROWS) < 0.06).astype(int)


def dollars(values: np.ndarray) -> list[str]:
    return [f"${value:.2f}" for value in values]


def where(filled: np.ndarray, values: np.ndarray, form: str = "{:.3f}") -> list[str]:
    """Cells that are filled in some rows only."""
    return [form.format(value) if fill else "" for fill, value in zip(filled, values, strict=True)]


def words(numbers: np.ndarray, *names: str) -> list[str]:
    return [names[number] for number in numbers]


Draw = Callable[[np.random.Generator, np.ndarray, np.ndarray, np.ndarray], tuple[Any, Any]]
LEAKS: dict[str, Draw] = {  # the target, and the column
    "another unit": lambda r, x, c, rare: (x, (x * 1.8 + 32).round(3)),
    "an average that holds the target": lambda r, x, c, rare: (x, x + 0.05 * r.normal(size=ROWS)),
    "of heavy tails, in another currency": lambda r, x, c, rare: (dollars(np.exp(2.5 * x)), np.exp(2.5 * x) * 0.19),
    "the rank": lambda r, x, c, rare: (np.exp(x), 2 * np.argsort(np.argsort(-x))),
    "a code of the class": lambda r, x, c, rare: (words(c, "red", "green", "blue"), c * 10 + 3),
    "words for the class": lambda r, x, c, rare: (rare, words(rare, "benign", "malignant")),
    "several words a class": lambda r, x, c, rare: (c + 3, words(c + 3 * (x > 0), *"ABCDEF")),
    "filled in afterwards": lambda r, x, c, rare: (rare, where(rare, x)),
    "a day that one class alone has": lambda r, x, c, rare: (
        rare,
        where(rare, r.integers(1, 29, ROWS), "2020-01-{:02}"),
    ),
    "a score with a threshold": lambda r, x, c, rare: (words((x > 0.4).astype(int), "no", "yes"), x),
    "a code with some errors": lambda r, x, c, rare: (c, np.where(np.arange(ROWS) < 3, (c + 1) % 3, c) * 7 + 2),
    "an amount paid back": lambda r, x, c, rare: (rare, np.where(rare, abs(x) + 1, 0)),
}
HONEST: dict[str, Draw] = {
    "R2 of 0.9": lambda r, x, c, rare: (x + r.normal(size=ROWS) / 3, x),
    "R2 of 0.95": lambda r, x, c, rare: (x + r.normal(size=ROWS) * 0.23, x),
    "R2 of 0.9 of the logarithms": lambda r, x, c, rare: (np.exp(x + r.normal(size=ROWS) / 3), np.exp(x)),
    "a curve": lambda r, x, c, rare: (x**2 + 0.45 * r.normal(size=ROWS), x),
    "means by town": lambda r, x, c, rare: (c * 10 + 2.7 * r.normal(size=ROWS), words(c, "Rome", "Oslo", "Bern")),
    "97 of 100 right": lambda r, x, c, rare: (c, np.where(r.random(ROWS) < 0.03, (c + 1) % 3, c)),
    "a word, mostly right": lambda r, x, c, rare: (c % 2, words((c + (r.random(ROWS) < 0.03)) % 2, "no", "yes")),
    "classes that overlap": lambda r, x, c, rare: (c, c * 4 + r.normal(size=ROWS)),
    "a rare class that overlaps": lambda r, x, c, rare: (rare, rare * 3.2 + x),
    "mostly filled for one class": lambda r, x, c, rare: (rare, where(rare | (r.random(ROWS) < 0.05), x)),
}


@pytest.mark.parametrize("name", LEAKS)
def test_constructed_leaks_are_found(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random, *drawn = draws(3)
    target, leak = LEAKS[name](random, *drawn)
    columns = {"noise": random.normal(size=ROWS).round(3), "leak": leak, "color": random.choice(["r", "g"], ROWS)}
    away, groups = told(tmp_path / "x.csv", {**columns, "y": target}, capsys)
    assert (away, groups) == ({"leak"}, set())


@pytest.mark.parametrize("name", HONEST)
def test_honest_strong_columns_are_silent(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random, *drawn = draws(4)
    target, column = HONEST[name](random, *drawn)
    assert told(tmp_path / "x.csv", {"strong": column, "y": target}, capsys) == (set(), set())


def noise(seed: int) -> Columns:
    """A table without anything to find, of 12 to 400 rows and eight columns of all types."""
    random = np.random.default_rng(seed)
    rows = int(random.choice([12, 30, 31, 60, 150, 400]))
    target = [
        random.normal(size=rows), random.integers(0, 2, rows), random.choice(["a", "b", "c"], rows),
        (np.arange(rows) % 8 == 0).astype(int), random.integers(1, 6, rows), np.exp(3 * random.normal(size=rows)),
    ][seed % 6]  # fmt: skip
    return {
        "number": random.normal(size=rows), "other": random.random(rows).round(2), "stars": random.integers(1, 6, rows),
        "flag": random.choice(["yes", "no"], rows), "color": random.choice(["red", "green", "blue"], rows),
        "town": [f"t{k}" for k in random.integers(0, max(rows // 3, 2), rows)],
        "pair": [f"p{k // 2}" for k in range(rows)], "day": [f"2020-{m:02}-11" for m in random.integers(1, 13, rows)],
        "y": target,
    }  # fmt: skip


@pytest.mark.parametrize("block", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 10))])
def test_noise_gives_no_alarm(block: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(20 * block, 20 * block + 20):
        assert told(tmp_path / "x.csv", noise(seed), capsys) == (set(), set()), seed


def test_groups_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of one tree have one species, those of one house one price; a fraction is no name of a tree."""
    random = np.random.default_rng(0)
    tree = np.arange(ROWS) // 6
    species = random.choice(["oak", "ash"], 100)[tree]
    columns = {"tree": [f"t{k}" for k in tree], "number": 7 * tree + 5, "girth": random.random(100)[tree]}
    away, groups = told(tmp_path / "x.csv", {**columns, "leaf": random.normal(size=ROWS), "y": species}, capsys)
    assert groups == {"tree", "number"}
    assert "leaf" not in away
    columns = {"house": [f"h{k}" for k in tree], "x": random.normal(size=ROWS), "y": random.random(100)[tree] * 1000}
    assert told(tmp_path / "x.csv", columns, capsys)[1] == {"house"}


def test_a_group_whose_target_varies_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = [f"t{k // 6}" for k in range(ROWS)]
    columns = {"tree": tree, "x": np.arange(ROWS) * 2.5, "y": ["oak", "ash", "fir"] * (ROWS // 3)}
    assert told(tmp_path / "x.csv", columns, capsys) == (set(), set())


def test_many_classes_and_a_rare_one_hide_no_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """50 classes need more than 32 leaves, and a class of two rows is never predicted."""
    label = [*np.arange(3000) % 50, 77, 77]
    random = np.random.default_rng(0)
    columns = {"x": random.normal(size=3002).round(3), "leak": [f"c{k}" for k in label], "y": [f"k{k}" for k in label]}
    assert told(tmp_path / "x.csv", columns, capsys)[0] == {"leak"}

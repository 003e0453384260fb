"""What is read from a finished run directory: one number each. Files only, never live objects."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Reader = Callable[[Path], float]


def summary(dotted: str) -> Reader:
    """A value of summary.json, `test.accuracy` say."""

    def read(run: Path) -> float:
        value: Any = json_of(run / "summary.json")
        for key in dotted.split("."):
            value = value[key]
        return float(value)

    return read


def of_test(metric: str) -> Reader:
    """A metric of the test part: at the last epoch, or, where validation selects one, at the selected epoch."""

    def read(run: Path) -> float:
        found = json_of(run / "summary.json")
        return float(found["last"].get(f"test_{metric}", found["test"][metric]))

    return read


accuracy_of_test, loss_of_test = of_test("accuracy"), of_test("loss")


def at(x: float) -> Reader:
    """The fitted curve at `x`, from fit.csv, which must hold that point."""

    def read(run: Path) -> float:
        near = min(rows(run / "fit.csv"), key=lambda row: abs(row["x"] - x))
        if abs(near["x"] - x) > 1e-5:
            raise ValueError(f"{run}/fit.csv has no point at {x}")
        return near["prediction"]

    return read


def full_data_mse(run: Path) -> float:
    """The mean squared error of the selected weights over all points, from fit.csv."""
    errors = [(row["y"] - row["prediction"]) ** 2 for row in rows(run / "fit.csv") if "y" in row]
    return sum(errors) / len(errors)


def learnt_at(run: Path) -> float:
    """The epoch from which on every letter is read right, to the end (infinite when it is not)."""
    first = float("inf")
    for row in rows(run / "metrics.csv"):
        if row["train_accuracy"] < 1:
            first = float("inf")
        elif first == float("inf"):
            first = row["epoch"]
    return first


def json_of(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def rows(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of numbers, without their empty cells."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

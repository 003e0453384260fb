"""What a table is to predict: classes, tags or numbers, typed on all rows, what is done to numbers, and row weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dlrun.data.table.columns import Column
from dlrun.data.table.encode import value_of, values_of
from dlrun.data.table.read import DataTable
from dlrun.data.table.types import Typed, typed
from dlrun.data.transforms import Log, Standardize, Transform
from dlrun.data.vocabulary import LabelMap
from dlrun.errors import ConfigError, DataError, Problem, did_you_mean

LISTED = 8


@dataclass(frozen=True)
class Target:
    """What is predicted: class numbers (N,) with labels, or numbers (N, K); `known` are the rows that have one."""

    task: str
    values: np.ndarray
    labels: tuple[str, ...]
    names: tuple[str, ...]
    known: np.ndarray  # (N,) bool
    typed: tuple[Typed, ...]


def read_target(
    whole: DataTable, names: Sequence[str], task: str, forced: Mapping[str, str], positive: str | None, transform: str
) -> Target:
    """The target, typed on all rows. Raises `ConfigError` and `DataError`."""
    columns = [whole.column(name, "dataset.target") for name in names]
    kinds = [typed(column, forced.get(column.name)) for column in columns]
    for kind in kinds:
        if kind.type == "constant":
            raise DataError(f"dataset.target: column {kind.name!r} is {kind.why}: there is nothing to learn.")
    numeric = all(kind.type == "number" for kind in kinds)
    if task == "auto":
        task = "regression" if numeric else "classification"
    if len(columns) > 1 and task == "classification":
        if all(kind.type == "boolean" for kind in kinds):
            return several_tags(columns, kinds)
        raise ConfigError(Problem("dataset.target", "several targets are all numbers, or all of two values."))
    if task == "regression":
        if positive is not None:
            raise ConfigError(Problem("dataset.positive", "goes with classes, and the target is a number."))
        return regression_target(columns, kinds, transform)
    if transform != "none":
        raise ConfigError(Problem("dataset.target_transform", "goes with a number, and the target is a class."))
    return classes(columns[0], kinds[0], positive)


def classes(column: Column, kind: Typed, positive: str | None) -> Target:
    """Class numbers, the labels in the order of the texts (numbers in theirs), the positive one last."""
    cells = [cell.strip() for cell in column.cells()]
    missing = {"", *(word.strip() for word in kind.missing)}
    counts = kind.type in ("number", "boolean")
    labels = sorted(set(cells) - missing, key=lambda text: (value_of(text, kind) if counts else 0.0, text))
    if positive is not None:
        if positive not in labels or len(labels) != 2:
            hint = did_you_mean(positive, labels) or f"Classes: {some(labels)}."
            what = (
                f"{positive!r} is no class of two."
                if len(labels) == 2
                else f"goes with two classes, not {len(labels)}."
            )
            raise ConfigError(Problem("dataset.positive", what, hint))
        labels = [label for label in labels if label != positive] + [positive]
    if len(labels) < 2:
        raise DataError(f"dataset.target: column {column.name!r} has one class only: there is nothing to learn.")
    numbers = LabelMap(labels).numbers
    values = np.array([numbers.get(cell, -1) for cell in cells])
    return Target("classification", values, tuple(labels), (column.name,), values >= 0, (kind,))


def regression_target(columns: Sequence[Column], kinds: Sequence[Typed], transform: str) -> Target:
    """Numbers (N, K). Raises `DataError` for targets that have no logarithm."""
    for column, kind in zip(columns, kinds, strict=True):
        if kind.type not in ("number", "boolean"):
            raise DataError(f"dataset.target: column {column.name!r} is {kind.type} and not a number.")
    values = np.hstack([values_of(column, kind) for column, kind in zip(columns, kinds, strict=True)])
    known = ~np.isnan(values).any(1)
    if transform == "log" and bool((values[known] <= 0).any()):
        row = int(((values <= 0).any(1) & known).argmax()) + 1
        what = f"row {row} has a target of {values[row - 1].min():g}, and it must be above 0."
        raise DataError(f"dataset.target_transform=log: {what}")
    names = tuple(column.name for column in columns)
    return Target("regression", values, (), names, known, tuple(kinds))


def several_tags(columns: Sequence[Column], kinds: Sequence[Typed]) -> Target:
    """Tags (N, K) of 0 and 1; a missing one is unknown (-1)."""
    values = np.hstack([values_of(column, kind) for column, kind in zip(columns, kinds, strict=True)])
    known = ~np.isnan(values).all(1)
    names = tuple(column.name for column in columns)
    return Target("multilabel", np.where(np.isnan(values), -1.0, values), names, names, known, tuple(kinds))


def read_weights(whole: DataTable, name: str, known: np.ndarray) -> np.ndarray:
    """The row weights (N,). Raises `DataError` for one that is missing or below 0 in a row that has a target."""
    column = whole.column(name, "dataset.weight")
    try:
        values = values_of(column, typed(column, "number"))[:, 0]
    except DataError as error:
        raise DataError(f"dataset.weight: {error}") from error
    wrong = known & ~(values >= 0)
    if wrong.any():
        row = int(wrong.argmax())
        what = f"is {values[row]:g} in row {row + 1}" if values[row] < 0 else f"has no number in row {row + 1}"
        raise DataError(f"dataset.weight: column {name!r} {what}. A weight is a number of 0 or more.")
    if not values[known].any():
        raise DataError(f"dataset.weight: column {name!r} is 0 in every row: nothing would count.")
    return values


def target_steps(train: Tensor, wanted: Target, transform: str) -> list[Transform]:
    """The steps of a regression's target: the logarithm if asked for, then mean 0 and deviation 1."""
    if wanted.task != "regression":
        return []
    first: list[Transform] = [Log()] if transform == "log" else []
    values = train
    for step in first:
        values = step.apply(values)
    return [*first, Standardize.fit(values)]


def some(names: Sequence[str]) -> str:
    """The first names, and whether there are more."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")

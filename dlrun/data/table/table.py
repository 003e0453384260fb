"""Your own table as a data set: read, typed, split, encoded, each step said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dlrun.data.arrays import to_tensor
from dlrun.data.base import Data, Split, from_parts
from dlrun.data.leaks import overlap_notes
from dlrun.data.table.columns import Column
from dlrun.data.table.encode import Oddities, TableEncoder
from dlrun.data.table.kept import kept
from dlrun.data.table.read import DataTable, Reading, concat_columns, read_table
from dlrun.data.table.schema import as_yaml, read_types
from dlrun.data.table.splits import Rows, Splitting, split_table
from dlrun.data.table.target import Target, read_target, read_weights, some, target_steps
from dlrun.data.table.trees import boosted_trees
from dlrun.data.table.types import Typed, left_out, type_all
from dlrun.data.transforms import Standardize, Transform, write_steps
from dlrun.errors import ConfigError, DataError, Problem, did_you_mean
from dlrun.plain import Values


def table(
    *,
    seed: int,
    path: str | Sequence[str] | None = None,
    train_path: str | Sequence[str] | None = None,
    val_path: str | None = None,
    test_path: str | None = None,
    target: str | Sequence[str] | None = None,
    task: str = "auto",
    types: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    features: Sequence[str] | None = None,
    id: Sequence[str] = (),
    weight: str | None = None,
    positive: str | None = None,
    target_transform: str = "none",
    standardize: bool = True,
    split: str = "auto",
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    folds: int | None = None,
    fold: int = 0,
    split_seed: int | None = None,
    schema: str | None = None,
    header: bool | str = "auto",
    delimiter: str = "auto",
    encoding: str = "auto",
    cache: bool = False,
    baseline: str = "trees",
) -> Data:
    """Rows of a table (N, F) as floats, with a class (N,) or numbers (N, K) to predict.

    Rows count by `weight` in loss, metrics and baselines; the split, the encoding and the scaling ignore it.

    Raises `ConfigError` for keys that exclude each other and columns that are not there, `DataError` for what is wrong
    with the files, by column and line.
    """
    given = dict(locals())
    targets = [target] if isinstance(target, str) else list(target or [])
    own_seed = split_seed if split_seed is not None else 0 if folds is not None else seed
    how = Splitting(split, split_column, group, time, test_fraction, val_fraction, folds, fold, own_seed, seed)
    how.check()

    def make() -> Data:
        files = {"train": train_path, "val": val_path, "test": test_path}
        whole, parts = read_parts(path, files, Reading(header, delimiter, encoding), targets)
        if not targets:
            hint = f"Columns: {some(whole.names)}."
            raise ConfigError(Problem("dataset.target", "says which column to predict.", hint))
        check_names(whole, {"dataset.target": targets, "dataset.drop": drop, "dataset.features": features or [],
                            "dataset.id": id, "dataset.types": list(types or {}),
                            "dataset.weight": [weight] if weight else []})  # fmt: skip
        wanted = read_target(whole, targets, task, types or {}, positive, target_transform)
        known, dropped = read_types(schema) if schema is not None else ({}, [])
        rows, notes = choose_rows(whole, parts, wanted, how)
        roles = {name for name in (split_column, group, time) if name}
        outside = {*targets, *drop, *dropped, *id, *([weight] if weight else []), *(roles - set(features or []))}
        inside = whole.names if features is None else features
        chosen = [column for column in whole.columns if column.name in inside and column.name not in outside]
        train_rows = np.sort(rows[0])  # in order, which is faster to gather
        found, encoder = fit_on([column.take(train_rows) for column in chosen], types or {}, known, id)
        weights = None if weight is None else read_weights(whole, weight, wanted.known)
        made = Parts(whole, encoder, wanted, rows, weights)
        data = made.data(made.preprocessing(standardize, target_transform), found, notes)
        test_rows = () if folds is None else tuple(rows[2].tolist())
        told = {"schema.yaml": as_yaml(found, sorted(outside - set(targets)))}
        return replace(data, files=told, test_rows=test_rows)

    return replace(kept(given, make) if cache else make(), rival=boosted_trees if baseline == "trees" else None)


def check_names(whole: DataTable, asked: Mapping[str, Sequence[str]]) -> None:
    """Raise `ConfigError` with every column that a key names and the table lacks."""
    problems = [
        Problem(
            key, f"there is no column {name!r}.", did_you_mean(name, whole.names) or f"Columns: {some(whole.names)}."
        )
        for key, names in asked.items()
        for name in names
        if name not in whole.names
    ]
    if problems:
        raise ConfigError(problems)


def read_parts(
    path: str | Sequence[str] | None,
    own: Mapping[str, str | Sequence[str] | None],
    reading: Reading,
    targets: Sequence[str],
) -> tuple[DataTable, dict[str, int]]:
    """The rows of all files in one table, and how many each part has, where parts have files of their own.

    Raises `ConfigError` for paths that exclude each other, and for a test file without the target, which is for
    `dlrun predict`.
    """
    if (path is None) == (own["train"] is None):
        what = "give dataset.path (one table, split here) or dataset.train_path (and dataset.test_path)"
        raise ConfigError(Problem("dataset.path", f"{what}: {'neither' if path is None else 'both'} is given."))
    if path is not None:
        given = next((name for name in ("val", "test") if own[name] is not None), None)
        if given:
            raise ConfigError(Problem(f"dataset.{given}_path", "goes with dataset.train_path, not with dataset.path."))
        return read_table(path, reading), {}
    tables = {name: read_table(files, reading) for name, files in own.items() if files is not None}
    first = tables["train"]
    for name, part in tables.items():
        lacking = [column for column in targets if column in first.names and column not in part.names]
        if lacking:
            hint = f"It is for predictions: dlrun predict RUN {own[name]}."
            raise ConfigError(Problem(f"dataset.{name}_path", f"has no column {lacking[0]!r}, the target.", hint))
        missing = sorted(set(first.names) - set(part.names))
        if missing:
            raise ConfigError(Problem(f"dataset.{name}_path", f"has no column {some(missing)}, which train has."))
    columns = [concat_columns([part.column(name, "dataset.path") for part in tables.values()]) for name in first.names]
    notes = [note for part in tables.values() for note in part.notes]
    return DataTable(columns, notes), {name: part.rows for name, part in tables.items()}


def choose_rows(whole: DataTable, parts: Mapping[str, int], wanted: Target, how: Splitting) -> tuple[Rows, list[str]]:
    """The rows of each part that have a target."""
    lost = int((~wanted.known).sum())
    notes = [f"{lost} rows without {' and '.join(wanted.names)} are not used"] if lost else []
    strata = wanted.values if wanted.task == "classification" else None
    known = np.flatnonzero(wanted.known)
    if not parts:
        if len(known) < 2:
            raise DataError(f"{len(known)} rows have a target: too few to learn from.")
        having = whole if len(known) == whole.rows else whole.take(known)
        rows, more = split_table(having, None if strata is None else strata[known], how, wanted.labels)
        return (known[rows[0]], known[rows[1]], known[rows[2]]), [*notes, *more]
    for key, value in (("dataset.folds", how.folds), ("dataset.split_column", how.column)):
        if value is not None:
            raise ConfigError(Problem(key, "goes with dataset.path, not with dataset.train_path."))
    ends = np.cumsum([0, *parts.values()])
    own = {name: known[(known >= a) & (known < b)] for name, a, b in zip(parts, ends[:-1], ends[1:], strict=True)}
    train = own["train"]
    for name, fraction in (("test", how.test_fraction), ("val", how.val_fraction)):
        if name in own:
            continue
        seed = how.seed if name == "test" else how.val_seed
        cut = Splitting(how.how, None, how.group, how.time, fraction, 0.0, seed=seed, val_seed=seed)
        rows, more = split_table(whole.take(train), None if strata is None else strata[train], cut, wanted.labels)
        own[name], train, notes = train[rows[2]], train[rows[0]], [*notes, *more]
    return (train, own["val"], own["test"]), notes


def fit_on(
    training: Sequence[Column], types: Mapping[str, str], known: Mapping[str, Typed], copied: Sequence[str]
) -> tuple[list[Typed], TableEncoder]:
    """The types of columns by their training rows, and the encoder fitted on these."""
    found = type_all(training, types, known)
    return found, TableEncoder.fit(training, found, copied)


@dataclass
class Parts:
    """The parts of the matrix and of the target."""

    whole: DataTable
    encoder: TableEncoder
    wanted: Target
    rows: Rows
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        columns = {column.name: column for column in self.whole.columns}
        self.odd = {name: Oddities() for name in ("train", "val", "test")}
        self.matrices = [
            self.encoder.apply(columns, odd, rows) if len(rows) else None
            for rows, odd in zip(self.rows, self.odd.values(), strict=True)
        ]

    def scaling(self) -> Standardize:
        """Standardizes numbers and dates as the training rows have them; columns of 0 and 1 stay."""
        assert self.matrices[0] is not None
        scaled = self.encoder.scaled
        mean, std = np.zeros(len(scaled)), np.ones(len(scaled))
        for places in np.split(np.flatnonzero(scaled), range(8, int(scaled.sum()), 8)):
            for place, values in zip(places, self.matrices[0][:, places].T.copy(), strict=True):
                fitted = Standardize.fit(torch.from_numpy(values[:, None]))
                mean[place], std[place] = fitted.mean[0], fitted.std[0]
        return Standardize(mean.tolist(), std.tolist())

    def data(self, preprocessing: Values, found: Sequence[Typed], notes: Sequence[str]) -> Data:
        """The data set, with notes on what was left out and remarks on odd cells."""
        train, val, test = self.splits()
        wanted, whole = self.wanted, self.whole
        odd = [note for column in found for note in column.notes]
        return from_parts(
            "table", wanted.task, "tabular", train, val, test,
            labels=wanted.labels,
            feature_names=self.encoder.features,
            target_names=wanted.names,
            preprocessing=preprocessing,
            notes=[*whole.notes, *left_out_notes(found), *notes, *self.notes()],
            remarks=[*odd, *self.remarks(), *overlap_notes(train, test)],
        )  # fmt: skip

    def preprocessing(self, standardize: bool, target_transform: str) -> Values:
        """What was fitted, as plain values for the spec."""
        steps: list[Transform] = [self.scaling()] if standardize else []
        return {
            "inputs": [write_steps(steps)],
            "target": write_steps(target_steps(self.target(self.rows[0]), self.wanted, target_transform)),
            "table": self.encoder.state(),
            "own_units": self.wanted.task == "regression",
        }

    def splits(self) -> tuple[Split, Split | None, Split | None]:
        """Train, validation and test."""
        made = [
            None if matrix is None else Split((torch.from_numpy(matrix),), self.target(rows), weight=self.weight(rows))
            for matrix, rows in zip(self.matrices, self.rows, strict=True)
        ]
        assert made[0] is not None, "train has rows"
        return made[0], made[1], made[2]

    def target(self, rows: np.ndarray) -> Tensor:
        """The target of some rows."""
        values = self.wanted.values[rows]
        return torch.from_numpy(values) if self.wanted.task == "classification" else to_tensor(values).float()

    def weight(self, rows: np.ndarray) -> Tensor | None:
        """The weights of some rows."""
        return None if self.weights is None else torch.from_numpy(self.weights[rows].astype(np.float32))

    def notes(self) -> list[str]:
        """How many columns became how many features, and between what the weights are."""
        lines = [f"{len(self.encoder.columns)} columns are {len(self.encoder.features)} features"]
        if self.weights is not None:
            used = self.weights[np.concatenate(self.rows)]
            lines.append(f"rows have weights from {used.min():g} to {used.max():g}, in loss and metrics")
        return lines

    def remarks(self) -> list[str]:
        """Cells of validation and test that training did not prepare for."""
        return [line for part in ("val", "test") for line in self.odd[part].remarks(part)]


def left_out_notes(found: Sequence[Typed]) -> list[str]:
    """What is left out, and why."""
    told = [f"{column.name} ({column.type}: {column.why})" for column in found if left_out(column)]
    return [f"left out: {', '.join(told)}"] if told else []

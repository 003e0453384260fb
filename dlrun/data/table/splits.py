"""Which rows of a table train, validate and test: stratified, by a column, by groups, by time, by a hash, in folds.

All that is random comes from the split's own seed. No row is in two parts, and no group is on two sides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlrun.data.seeds import derive
from dlrun.data.table.columns import Column
from dlrun.data.table.encode import values_of
from dlrun.data.table.read import Table
from dlrun.data.table.types import typed
from dlrun.errors import ConfigError, DataError, Problem

PARTS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "1"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "2"), "test"),
}


@dataclass(frozen=True)
class Splitting:
    """How a table is cut. `folds` and `fold`: the fold is the test part, validation is drawn from the rest."""

    how: str = "auto"  # auto, stratified, random, hash
    column: str | None = None  # holds train, val and test
    group: str | None = None
    time: str | None = None
    test_fraction: float = 0.2
    val_fraction: float = 0.2
    folds: int | None = None
    fold: int = 0
    seed: int = 0

    def check(self) -> None:
        """Raise `ConfigError` for keys that exclude each other, by their names."""
        named = {"dataset.split_column": self.column, "dataset.group": self.group, "dataset.time": self.time}
        given = [key for key, value in named.items() if value is not None]
        given += ["dataset.split=hash"] if self.how == "hash" else []
        if len(given) > 1:
            what = f"does not go with {' and '.join(given[1:])}: rows are split in one way."
            raise ConfigError(Problem(given[0], what))
        if self.folds is not None and (self.column is not None or self.how == "hash"):
            raise ConfigError(Problem("dataset.folds", f"does not go with {given[0]}."))
        if self.folds is not None and not 0 <= self.fold < self.folds:
            what = f"{self.fold} is none of the {self.folds} folds, 0 to {self.folds - 1}."
            raise ConfigError(Problem("dataset.fold", what))


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # of train, val, test


def split_table(table: Table, classes: np.ndarray | None, how: Splitting) -> tuple[Rows, list[str]]:
    """The row numbers of train, val and test, and notes on what could not be had exactly.

    `classes` (N,) are the class numbers to stratify by; None for a regression. Raises `DataError` for an empty part.
    """
    how.check()
    notes: list[str] = []
    if how.column is not None:
        rows = by_column(table.column(how.column, "dataset.split_column"))
    elif how.time is not None:
        rows = by_time(table.column(how.time, "dataset.time"), how)
    elif how.how == "hash":
        rows = by_hash(table, how)
    elif how.group is not None:
        rows, notes = by_group(table.column(how.group, "dataset.group"), classes, how)
    else:
        rows = at_random(table.rows, None if how.how == "random" else classes, how)
    if not len(rows[0]) or (how.folds is not None and not len(rows[2])):
        part = "test" if len(rows[0]) else "train"
        raise DataError(f"no row is left for {part}: change the fractions or the folds.")
    return rows, notes


def by_column(column: Column) -> Rows:
    """The parts that a column names."""
    cells = [cell.strip().casefold() for cell in column.cells()]
    strange = sorted({cell for cell in cells if cell not in PARTS})
    if strange:
        raise DataError(f"column {column.name!r} names other parts than train, val and test: {', '.join(strange[:5])}.")
    part = np.array([PARTS[cell] for cell in cells])
    return np.flatnonzero(part == "train"), np.flatnonzero(part == "val"), np.flatnonzero(part == "test")


def by_time(column: Column, how: Splitting) -> Rows:
    """The last rows are test, those before them validation; with folds, windows that end later and later."""
    type = typed(column)
    if type.type not in ("date", "number", "boolean", "id"):
        raise DataError(f"column {column.name!r}: is {type.type} and not a time.")
    moments = values_of(column, type)
    when = moments[:, -1] if type.type == "date" else moments[:, 0]
    if np.isnan(when).any():
        raise DataError(f"column {column.name!r}: row {int(np.isnan(when).argmax()) + 1} has no time.")
    order = np.argsort(when, kind="stable")
    if how.folds is not None:
        edges = np.linspace(0, len(order), how.folds + 2).round().astype(int)
        before, test = order[: edges[how.fold + 1]], order[edges[how.fold + 1] : edges[how.fold + 2]]
    else:
        cut = len(order) - round(len(order) * how.test_fraction)
        before, test = order[:cut], order[cut:]
    cut = len(before) - round(len(before) * how.val_fraction)
    return before[:cut], before[cut:], test


def by_hash(table: Table, how: Splitting) -> Rows:
    """By a hash of the row's cells: rows stay where they are when others are added, and equal rows stay together."""
    cells = [column.cells() for column in table.columns]
    share = np.array([share_of(f"{how.seed}\x1f" + "\x1f".join(row)) for row in zip(*cells, strict=True)])
    test = share < how.test_fraction
    val = ~test & (share < how.test_fraction + how.val_fraction * (1 - how.test_fraction))
    return np.flatnonzero(~test & ~val), np.flatnonzero(val), np.flatnonzero(test)


def share_of(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def at_random(count: int, classes: np.ndarray | None, how: Splitting) -> Rows:
    """Rows at random, each class with its share in every part."""
    everyone = np.arange(count)
    if how.folds is not None:
        test = everyone[fold_of(count, classes, how.folds, how.seed) == how.fold]
    else:
        test = drawn(everyone, classes, how.test_fraction, derive(how.seed, "split:test"))
    rest = np.setdiff1d(everyone, test)
    stream = "split:val" if how.folds is None else f"split:val:{how.fold}"
    val = drawn(rest, classes, how.val_fraction, derive(how.seed, stream))
    train = np.setdiff1d(rest, val)
    shuffled = np.random.default_rng(derive(how.seed, "split:train")).permutation(train)
    return shuffled, val, test


def drawn(rows: np.ndarray, classes: np.ndarray | None, fraction: float, seed: int) -> np.ndarray:
    """A share of the rows, of each class its share (largest remainders), at least one where a class has two rows."""
    order = np.random.default_rng(seed).permutation(rows)
    wanted = round(len(rows) * fraction)
    if classes is None or not wanted:
        return order[:wanted]
    numbers, counts = np.unique(classes[order], return_counts=True)
    exact = counts * fraction
    take = np.minimum(np.maximum(np.floor(exact), (counts > 1).astype(int)), np.maximum(counts - 1, 0)).astype(int)
    for place in np.argsort(take - exact, kind="stable"):
        if take.sum() >= wanted:
            break
        take[place] += take[place] + 1 < counts[place]
    return np.concatenate([order[classes[order] == number][:n] for number, n in zip(numbers, take, strict=True)])


def fold_of(count: int, classes: np.ndarray | None, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, (N,): sizes differ by one at most, and so do the rows of each class."""
    if folds > count:
        raise DataError(f"{count} rows cannot be cut into {folds} folds.")
    order = np.random.default_rng(derive(seed, "split:folds")).permutation(count)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    found = np.empty(count, int)
    found[order] = np.arange(count) % folds
    return found


def by_group(column: Column, classes: np.ndarray | None, how: Splitting) -> tuple[Rows, list[str]]:
    """No group on two sides, each class near its share: the largest groups first, each where most is lacking."""
    groups = np.unique(np.array(column.cells(), dtype=object).astype(str), return_inverse=True)[1]
    least = how.folds or 3
    if groups.max() + 1 < least:
        raise DataError(f"column {column.name!r}: {groups.max() + 1} groups are too few for {least} parts.")
    label = np.zeros(len(groups), int) if classes is None else np.unique(classes, return_inverse=True)[1]
    table = np.zeros((groups.max() + 1, label.max() + 1))
    np.add.at(table, (groups, label), 1)
    if how.folds is not None:
        place = assign(table, np.full(how.folds, 1 / how.folds), derive(how.seed, "split:folds"))
        test_groups = place == how.fold
    else:
        place = assign(table, np.array([how.test_fraction, 1 - how.test_fraction]), derive(how.seed, "split:test"))
        test_groups = place == 0
    rest = np.flatnonzero(~test_groups)
    inner = assign(table[rest], np.array([how.val_fraction, 1 - how.val_fraction]), derive(how.seed, "split:val"))
    val_groups = np.zeros(len(table), bool)
    val_groups[rest[inner == 0]] = True
    test, val = test_groups[groups], val_groups[groups]
    wanted = 1 / how.folds if how.folds is not None else how.test_fraction
    reached = Counter({"test": int(test.sum()), "validation": int(val.sum())})
    shares = {"test": wanted, "validation": how.val_fraction * (1 - wanted)}
    notes = [
        f"by groups of {column.name!r}, {part} has {reached[part] / len(groups):.1%} of the rows ({share:.1%} asked)"
        for part, share in shares.items()
        if share and abs(reached[part] / len(groups) - share) > 0.01
    ]
    return (np.flatnonzero(~test & ~val), np.flatnonzero(val), np.flatnonzero(test)), notes


def assign(table: np.ndarray, shares: Sequence[float] | np.ndarray, seed: int) -> np.ndarray:
    """The part of each group (G,), by the rows of each class (G, C), so that parts come near their shares."""
    order = np.random.default_rng(seed).permutation(len(table))
    order = order[np.argsort(-table[order].sum(1), kind="stable")]
    wanted = np.outer(shares, table.sum(0))
    have = np.zeros_like(wanted)
    place = np.zeros(len(table), int)
    scale = np.maximum(table.sum(0), 1)
    open_parts = np.asarray(shares) > 0
    for group in order:
        after = ((have + table[group] - wanted) / scale) ** 2 - ((have - wanted) / scale) ** 2
        cost = np.where(open_parts, after.sum(1), np.inf)
        place[group] = int(cost.argmin())
        have[place[group]] += table[group]
    return place

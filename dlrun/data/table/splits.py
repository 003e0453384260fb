"""Which rows of a table train, validate and test: stratified, by a column, by groups, by time, by a hash, in folds.

The test part and the folds are drawn by `dataset.split_seed`, validation by the seed of the run. No row is in two
parts, and no group is on two sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dlrun.data.seeds import derive
from dlrun.data.table.cells import is_missing
from dlrun.data.table.columns import Column
from dlrun.data.table.encode import values_of
from dlrun.data.table.read import DataTable
from dlrun.data.table.types import typed
from dlrun.errors import ConfigError, DataError, Problem

PARTS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "1"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "2"), "test"),
}
NEAR = 0.01  # of the rows, or of a class: a smaller deviation from what was asked is not said


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
    seed: int = 0  # draws the test part, or the folds
    val_seed: int = 0  # draws the validation part

    def check(self) -> None:
        """Raise `ConfigError` for keys that exclude each other, by their names."""
        named = {"dataset.split_column": self.column, "dataset.group": self.group, "dataset.time": self.time}
        given = [key for key, value in named.items() if value is not None]
        at_once = self.how == "hash" or (self.how != "auto" and self.group is None)  # groups are stratified, or are not
        given += [f"dataset.split={self.how}"] if at_once else []
        if len(given) > 1:
            what = f"does not go with {' and '.join(given[1:])}: rows are split in one way."
            raise ConfigError(Problem(given[0], what))
        if self.folds is not None and (self.column is not None or self.how == "hash"):
            raise ConfigError(Problem("dataset.folds", f"does not go with {given[0]}."))
        if self.folds is None and self.fold:
            raise ConfigError(Problem("dataset.fold", "goes with dataset.folds, the number of folds."))
        if self.folds is not None and not 0 <= self.fold < self.folds:
            what = f"{self.fold} is none of the {self.folds} folds, 0 to {self.folds - 1}."
            raise ConfigError(Problem("dataset.fold", what))


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # of train, val, test


def split_table(
    table: DataTable, classes: np.ndarray | None, how: Splitting, labels: Sequence[str] = ()
) -> tuple[Rows, list[str]]:
    """The row numbers of train, val and test, and notes on what could not be had exactly.

    `classes` (N,) are the class numbers to stratify by, with their `labels`; None for a regression. Raises `DataError`
    for an empty part, and for a class that a fold would take out of training.
    """
    how.check()
    notes: list[str] = []
    if classes is None and how.how == "stratified":
        raise ConfigError(Problem("dataset.split", "stratified goes with one target that is a class.", "Try random."))
    classes = None if how.how == "random" else classes
    if how.column is not None:
        rows = by_column(table.column(how.column, "dataset.split_column"))
    elif how.time is not None:
        rows = by_time(table.column(how.time, "dataset.time"), how)
    elif how.how == "hash":
        rows = by_hash(table, how)
    elif how.group is not None:
        rows, notes = by_group(table.column(how.group, "dataset.group"), classes, how, labels)
    else:
        if how.folds is not None and classes is not None:
            check_classes_of_folds(np.arange(table.rows), classes, labels, "row")
        rows = at_random(table.rows, classes, how)
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
        cut = len(order) - share_of_rows(len(order), how.test_fraction)
        before, test = order[:cut], order[cut:]
    cut = len(before) - share_of_rows(len(before), how.val_fraction)
    return before[:cut], before[cut:], test


def share_of_rows(count: int, fraction: float) -> int:
    """The number of rows in a share: at least one if there are two, so that a part that was asked for is not empty."""
    return max(round(count * fraction), int(fraction > 0 and count > 1))


def by_hash(table: DataTable, how: Splitting) -> Rows:
    """By a hash of the row's cells: rows stay where they are when others are added, and equal rows stay together."""
    cells = [spelled_alike(column) for column in table.columns]
    share = np.array([share_of(f"{how.seed}\x1f" + "\x1f".join(row)) for row in zip(*cells, strict=True)])
    test = share < how.test_fraction
    val = ~test & (share < how.test_fraction + how.val_fraction * (1 - how.test_fraction))
    return np.flatnonzero(~test & ~val), np.flatnonzero(val), np.flatnonzero(test)


def spelled_alike(column: Column) -> list[str]:
    """The cells as they are hashed: 1.50 as 1.5, and NA as nothing, as in a large file, whose columns are numbers."""
    texts = []
    for text in map(str.strip, column.texts):
        try:
            value = float("nan") if is_missing(text) else float(text)
            texts.append("" if value != value else f"{value:.15g}")
        except ValueError:
            texts.append(text)
    return replace(column, texts=tuple(texts)).cells()


def share_of(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def at_random(count: int, classes: np.ndarray | None, how: Splitting) -> Rows:
    """Rows at random, each class with its share in every part."""
    everyone = np.arange(count)
    if how.folds is not None:
        test = everyone[fold_of(count, classes, how.folds, how.seed) == how.fold]
    else:
        test = draw_share(everyone, classes, how.test_fraction, derive(how.seed, "split:test"))
    left = np.ones(count, bool)
    left[test] = False
    rest = np.flatnonzero(left)
    stream = "split:val" if how.folds is None else f"split:val:{how.fold}"
    val = draw_share(rest, classes, how.val_fraction, derive(how.val_seed, stream))
    left[val] = False
    train = np.flatnonzero(left)
    shuffled = np.random.default_rng(derive(how.val_seed, "split:train")).permutation(train)
    return shuffled, val, test


def draw_share(rows: np.ndarray, classes: np.ndarray | None, fraction: float, seed: int) -> np.ndarray:
    """A share of the rows, of each class its share (largest remainders), at least one where a class has two rows."""
    order = np.random.default_rng(seed).permutation(rows)
    wanted = share_of_rows(len(rows), fraction)
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


def check_classes_of_folds(unit: np.ndarray, classes: np.ndarray, labels: Sequence[str], what: str) -> None:
    """Raise `DataError` for a class in one row (or group) alone: where that is tested, none is left to learn from."""
    for number in np.unique(classes):
        if len(np.unique(unit[classes == number])) < 2:
            name = labels[number] if number < len(labels) else str(number)
            why = f"the fold that tests that {what} has none to learn from. Leave the class out, or merge it."
            raise DataError(f"dataset.folds: class {name!r} stands in one {what} alone: {why}")


def by_group(
    column: Column, classes: np.ndarray | None, how: Splitting, labels: Sequence[str] = ()
) -> tuple[Rows, list[str]]:
    """No group on two sides, each class near its share: the largest groups first, each where most is lacking."""
    names, groups = np.unique(np.array([cell.strip() for cell in column.cells()]), return_inverse=True)
    fractions = {"test": 1 / how.folds if how.folds is not None else how.test_fraction, "validation": how.val_fraction}
    label = np.zeros(len(groups), int) if classes is None else classes
    if how.folds is not None and classes is not None:
        check_classes_of_folds(groups, classes, labels, "group")
    table = np.zeros((len(names), label.max() + 1))
    np.add.at(table, (groups, label), 1)
    if how.folds is not None:
        tested = assign(table, np.full(how.folds, 1 / how.folds), derive(how.seed, "split:folds")) == how.fold
    else:
        tested = assign(table, [how.test_fraction, 1 - how.test_fraction], derive(how.seed, "split:test")) == 0
    rest = np.flatnonzero(~tested)
    lacking = len(names) < (how.folds or 0) or (fractions["test"] > 0 and not tested.any())
    if lacking or len(rest) < 1 + (how.val_fraction > 0):
        raise DataError(
            f"column {column.name!r}: its {len(names)} groups are too few for the parts that are asked for."
        )
    inner = assign(table[rest], [how.val_fraction, 1 - how.val_fraction], derive(how.val_seed, "split:val"))
    validating = np.isin(np.arange(len(names)), rest[inner == 0])
    test, val = tested[groups], validating[groups]
    fractions["validation"] *= 1 - fractions["test"]
    notes = [
        f"by groups of {column.name!r}, {line}"
        for (part, share), chosen in zip(fractions.items(), (test, val), strict=True)
        if share
        for line in deviations(part, share, chosen, classes, labels)
    ]
    if not names[0]:
        notes.append(f"{int((groups == 0).sum())} rows without {column.name!r} are one group")
    return (np.flatnonzero(~test & ~val), np.flatnonzero(val), np.flatnonzero(test)), notes


def deviations(
    part: str, share: float, chosen: np.ndarray, classes: np.ndarray | None, labels: Sequence[str]
) -> list[str]:
    """How far a part is from its share of the rows, and from the share of the class in which it is farthest off."""
    lines = []
    if abs(chosen.mean() - share) > NEAR:
        lines.append(f"{part} has {chosen.mean():.1%} of the rows ({share:.1%} asked)")
    if classes is not None:
        wanted, reached = (
            np.bincount(some, minlength=classes.max() + 1) / len(some) for some in (classes, classes[chosen])
        )
        worst = int(np.abs(reached - wanted).argmax())
        if abs(reached[worst] - wanted[worst]) > NEAR:
            name = labels[worst] if worst < len(labels) else worst
            lines.append(f"{reached[worst]:.1%} of {part} are {name!r} ({wanted[worst]:.1%} of all rows)")
    return lines


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
    for part in np.flatnonzero(open_parts):
        if not (place == part).any():  # its share is below half a group: it gets the smallest that is not alone
            place[next((g for g in order[::-1] if (place == place[g]).sum() > 1), order[0])] = part
    return place

"""Splitting rows into parts: seeded, disjoint, complete, and stratified where there are classes.

Every split is made here and named once, so that no row can be in two parts (traps T12, T22).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrun.data.seeds import generator
from dlrun.errors import DataError

MOST_CLASSES = 4096  # a confusion matrix of them takes 128 MiB


def split_off(
    count: int,
    fractions: tuple[float, float],
    seed: int,
    split_seed: int | None,
    target: Tensor | None = None,
    names: Sequence[str] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers of train, val and test: test is drawn from all rows by `split_seed`, val from the rest by `seed`.

    With one `split_seed` for several seeds, no row that one of them is tested on was trained on by another.

    Args:
        count: the number of rows.
        fractions: of val, a share of the rows that are not test rows, and of test, a share of all rows.
        seed: draws val.
        split_seed: draws test; None: `seed` does.
        target: (count,) class numbers to stratify by, see `split`.
        names: of the classes, for messages.
    """
    val_fraction, test_fraction = fractions
    rest, test = split(count, test_fraction, seed_of_test(seed, split_seed), "test", target, names)
    left = None if target is None else target[rest]
    train, val = (rest[part] for part in split(len(rest), val_fraction, seed, "val", left, names))
    return train, val, test


def seed_of_test(seed: int, split_seed: int | None) -> int:
    """The seed that draws the test part (and made-up data): `dataset.split_seed`, or the seed of the run."""
    return seed if split_seed is None else split_seed


def split(
    count: int, fraction: float, seed: int, stream: str, target: Tensor | None = None, names: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Row numbers (rest, taken), both in a random order; `taken` holds `round(count * fraction)` of them.

    With `target` (count,) of class numbers each class gives its share (largest remainders), and at least one
    row to either side. `stream` is the part's name ("test", "val"): parts are drawn independently. A fraction
    of 0 takes nothing and keeps the file's order. Raises `DataError` if a side or a class comes out empty.
    """
    if fraction == 0:
        return torch.arange(count), torch.arange(0)
    wanted = round(count * fraction)
    if not 0 < wanted < count:
        raise DataError(f"dataset.{stream}_fraction: {fraction:g} of {count} rows is {wanted}: a part is empty.")
    order = torch.randperm(count, generator=generator(seed, f"split:{stream}"))
    if target is None:
        return order[wanted:], order[:wanted]
    labels = target.reshape(count)[order]
    classes, counts = labels.unique(return_counts=True)
    check_class_count(len(classes), count, f"the {stream} split")
    shares = _shares(counts.tolist(), wanted, fraction, stream, [_name(c, names) for c in classes.tolist()])
    taken = torch.zeros(count, dtype=torch.bool)
    for label, share in zip(classes, shares, strict=True):
        taken[(labels == label).nonzero()[:share, 0]] = True
    return order[~taken], order[taken]


def check_class_count(classes: int, rows: int, where: str) -> None:
    """Raise `DataError` for more classes than metrics and splits are made for, such as a column of numbers gives."""
    if classes > MOST_CLASSES:
        raise DataError(
            f"{where}: {classes:,} different classes in {rows:,} rows, but at most {MOST_CLASSES:,} can be told apart. "
            "Is this the column of the classes?"
        )


def _name(label: float, names: Sequence[str]) -> str:
    return names[int(label)] if int(label) < len(names) else str(int(label))


def _shares(counts: list[int], wanted: int, fraction: float, stream: str, names: list[str]) -> list[int]:
    """How many rows each class gives: as near to its quota as whole numbers can be, and none left empty."""
    lonely = [name for name, n in zip(names, counts, strict=True) if n < 2]
    if lonely:
        raise DataError(
            f"dataset.{stream}_fraction: there is only one row in {', '.join(lonely[:10])}. "
            "A class needs a row on either side: drop it, or use a fraction of 0."
        )
    rest = sum(counts) - wanted
    if min(wanted, rest) < len(counts):
        raise DataError(
            f"dataset.{stream}_fraction: {fraction:g} of {sum(counts)} rows leaves {min(wanted, rest)} on one side "
            f"for {len(counts)} classes: change the fraction, or use 0."
        )
    shares = [min(max(int(n * fraction), 1), n - 1) for n in counts]
    while sum(shares) != wanted:
        step = 1 if sum(shares) < wanted else -1
        room = [i for i, n in enumerate(counts) if 1 <= shares[i] + step <= n - 1]
        shares[max(room, key=lambda i: step * (counts[i] * fraction - shares[i]))] += step
    return shares


def file_order(count: int, val_fraction: float, test_fraction: float) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers (train, val, test), cut in the order of the file.

    60/20/20 of 569 rows become 342/113/114: train takes one row more than its share (trap T22). The parts are
    disjoint and complete, but neither shuffled nor stratified: a sorted file gives parts that differ.
    """
    cut = int(count * (1 - test_fraction))
    end = min(int(count * (1 - test_fraction) * (1 - val_fraction)) + 1, cut) if val_fraction else cut
    rows = torch.arange(count)
    return rows[:end], rows[end:cut], rows[cut:]

"""Rows of the test part that training has seen: counted, and said (traps T12, T37)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.data.base import Split


def overlap(train: Split, test: Split) -> int:
    """How many rows of `test` have inputs that also occur in `train`, byte for byte as stored.

    Rows on disk are not read: such parts are compared by `overlap_keys` on what names them.
    """
    if train.dataset is not None or test.dataset is not None or not train.inputs:
        return 0
    if any(a.shape[1:] != b.shape[1:] for a, b in zip(train.inputs, test.inputs, strict=True)):
        return 0
    rows = [_bytes(part.inputs) for part in (train, test)]
    keys = [_keys(table) for table in rows]
    both = np.sort(np.concatenate(keys))
    twice = both[1:][both[1:] == both[:-1]]  # seldom more than a few, and quickly searched
    suspects = [table[is_in(key, twice)] for table, key in zip(rows, keys, strict=True)]
    return overlap_keys(*([row.tobytes() for row in table] for table in suspects))


def is_in(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the keys are among the others, (N,) bool: what `numpy.isin` says, in a third of its time."""
    known = np.sort(others)
    if not len(known):
        return np.zeros(len(keys), bool)
    return known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys


def overlap_keys(train: Sequence[bytes] | Sequence[str], test: Sequence[bytes] | Sequence[str]) -> int:
    """How many of `test` occur in `train`."""
    seen = set(train)
    return sum(key in seen for key in test)


def overlap_notes(train: Split, test: Split | None) -> list[str]:
    """A line for the header when rows of test occur in train, else nothing."""
    found = overlap(train, test) if test is not None else 0
    if not found or test is None:
        return []
    share = found / test.samples
    return [f"{found} of {test.samples} test rows ({share:.1%}) occur in train: test is not pure generalization"]


def _bytes(inputs: tuple[Tensor, ...]) -> np.ndarray:
    """The rows as stored, (N, B) bytes, B filled up to a multiple of 8."""
    arrays = [np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape[0], -1).view(np.uint8) for tensor in inputs]
    width = sum(array.shape[1] for array in arrays)
    if len(arrays) == 1 and width % 8 == 0:
        return arrays[0]  # no copy of 47 MB of MNIST
    return np.concatenate([*arrays, np.zeros((len(arrays[0]), -width % 8), np.uint8)], axis=1)


def _keys(rows: np.ndarray) -> np.ndarray:
    """A number (N,) for each row, equal for equal rows: a sum of its 64-bit words, each times a fixed odd
    number.
    """
    words = rows.view(np.uint64)
    factors = np.random.default_rng(0).integers(0, 2**63, words.shape[1], np.uint64) * 2 + 1
    return words @ factors

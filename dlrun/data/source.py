"""What every source of batches shares: how many batches there are, of how many rows, and how text is trimmed."""

from __future__ import annotations

import math
from typing import Required, TypedDict

import torch

from dlrun.data.base import Split
from dlrun.data.transforms import Preparation
from dlrun.spec import Batch, DataSpec


class BatchOptions(TypedDict, total=False):
    """How a part is cut into batches; `Batches` has the defaults."""

    batch_size: Required[int]
    shuffle: bool
    seed: int
    device: torch.device | str
    max_batches: int | None


class Batches:
    """The base of every source of batches. Only the last batch of a part may be smaller than `batch_size`.

    With `shuffle` each epoch has an order of its own, from (seed, epoch). Batches arrive prepared on `device`.
    `max_batches` cuts an epoch short.
    """

    def __init__(
        self,
        part: Split,
        spec: DataSpec,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        max_batches: int | None = None,
    ) -> None:
        self.rows, self.batch_size = part.samples, batch_size
        self.weight = None if part.weight is None else part.weight.float()
        self.weighted = self.weight is not None
        self.shuffle, self.seed = shuffle, seed
        self.device = torch.device(device)
        self.count = math.ceil(self.rows / batch_size)
        if max_batches is not None:
            self.count = min(self.count, max_batches)
        self.samples = min(self.rows, self.count * batch_size)
        self.text = spec.input_kind == "text" and self.device.type == "cpu"
        self.preparation = Preparation(spec, self.device)

    def __len__(self) -> int:
        return self.count

    def sizes(self, i: int) -> int:
        """The number of rows in batch `i`."""
        return min(self.batch_size, self.samples - i * self.batch_size)

    def close(self) -> None:
        """Stop the processes that read rows, if there are any."""


def trimmed(batch: Batch) -> Batch:
    """A text batch without the columns that are padding in every row. On a GPU this would wait for it."""
    codes, lengths = batch.inputs[:2]
    longest = int(lengths.max())
    if longest == codes.shape[1]:
        return batch
    target = batch.target
    if target.ndim == 2 and target.shape[1] == codes.shape[1] and not target.is_floating_point():  # by position
        target = target[:, :longest]
    return Batch((codes[:, :longest], lengths, *batch.inputs[2:]), target, batch.weight)

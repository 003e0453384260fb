"""Batches of rows that are in memory, and the choice between memory and disk.

The hot path of training: an epoch's order is a function of (seed, epoch); some batches are gathered and
prepared at a time, then sliced. Nothing is done by row in Python, nothing by batch but slicing, and nothing
waits for a GPU. Batch sizes count rows; only the last batch of a part may be smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor

from dlrun.data.base import Loading, Split
from dlrun.data.loader import LoaderBatches, bytes_in_memory, load_into_memory, worker_count
from dlrun.data.memory import SHARE, fits
from dlrun.data.seeds import permutation
from dlrun.data.source import Batches, BatchOptions, trimmed
from dlrun.spec import Batch, BatchSource, DataSpec

GATHER = 32  # batches gathered at a time
PREPARE_ONCE_BYTES = 64 * 2**20  # parts whose prepared form is no larger are prepared once, not each epoch


class ResidentBatches(Batches):
    """Batches of a part whose tensors are in memory: on the device where they fit, as stored or prepared.

    Without `shuffle` they are plain slices.
    """

    resident = True

    def __init__(self, part: Split, spec: DataSpec, **options: Unpack[BatchOptions]) -> None:
        super().__init__(part, spec, **options)
        on_device = self.device.type == "cpu" or fits(part.nbytes, self.device)
        home = self.device if on_device else torch.device("cpu")
        self.note = ""
        if not on_device:
            size = too_large(part.nbytes, f"{self.device}'s")
            self.note = f"{size}: {part.samples} rows stay on the host and are sent batch by batch"
        self.inputs = tuple(tensor.to(home) for tensor in part.inputs)
        self.target = part.target.to(home)
        self.weight = None if self.weight is None else self.weight.to(home)
        numbers = sum(tensor.numel() for tensor in (*part.inputs, part.target))
        self.once = home == self.device and 4 * numbers <= PREPARE_ONCE_BYTES
        if self.once:
            self.inputs, self.target = self.preparation(self.inputs, self.target)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on."""
        order = None
        if self.shuffle and self.batch_size < self.rows:  # within one batch, order means nothing
            order = permutation(self.seed, epoch, self.rows, self.target.device)
        for first in range(start, self.count, GATHER):
            begin = first * self.batch_size
            end = min((first + GATHER) * self.batch_size, self.samples)
            inputs, target = self._gather(order, begin, end)
            batches = self._sliced(inputs, target, shared=order is None or target is inputs[0])
            yield from batches if self.weight is None else self._weighed(batches, self.weight, order, begin, end)

    def _gather(self, order: Tensor | None, begin: int, end: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Rows `begin` to `end` of the epoch, prepared, on the device."""
        if order is None:
            inputs, target = tuple(tensor[begin:end] for tensor in self.inputs), self.target[begin:end]
        else:
            rows = order[begin:end]
            inputs = tuple(tensor.index_select(0, rows) for tensor in self.inputs)
            target = inputs[0] if self.target is self.inputs[0] else self.target.index_select(0, rows)
        if self.once:
            return inputs, target
        if target.device != self.device:
            inputs = tuple(_sent(tensor, self.device) for tensor in inputs)
            target = _sent(target, self.device)
        return self.preparation(inputs, target)

    def _sliced(self, inputs: tuple[Tensor, ...], target: Tensor, shared: bool) -> Iterator[Batch]:
        """The batches of some gathered rows. What others hold, too, is copied: a model may change its input in place,
        a loss its target.
        """
        columns = [tensor.split(self.batch_size) for tensor in inputs]
        for *rows, wanted in zip(*columns, target.split(self.batch_size), strict=True):
            batch = Batch(tuple(rows), wanted)
            if self.text:
                batch = trimmed(batch)
            yield copied(batch) if shared else batch

    def _weighed(
        self, batches: Iterator[Batch], weight: Tensor, order: Tensor | None, begin: int, end: int
    ) -> Iterator[Batch]:
        """The batches of rows `begin` to `end` of the epoch, with the weights of their rows."""
        rows = weight[begin:end] if order is None else weight.index_select(0, order[begin:end])
        rows = rows if rows.device == self.device else _sent(rows, self.device)
        for batch, own in zip(batches, rows.split(self.batch_size), strict=True):
            yield batch._replace(weight=own)


def copied(batch: Batch) -> Batch:
    """A batch of tensors that nobody else holds."""
    return Batch(tuple(x.clone() for x in batch.inputs), batch.target.clone(), batch.weight)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor to a GPU without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def batches_for(
    part: Split,
    spec: DataSpec,
    *,
    overfit: bool = False,
    loading: Loading | None = None,
    **options: Unpack[BatchOptions],
) -> tuple[BatchSource, str]:
    """Batches of a part, and a line for the header on how they are read ("" when there is nothing to say).

    `overfit`: the first batch for ever, an epoch of one step. Rows on disk are read into memory when
    `loading.in_memory` is true, or auto, they fit `SHARE` of what is free, and are the same each time. Rows
    that stay on disk (or `in_memory` false), and augmented ones, come through `DataLoader`, made by
    `loading.workers` processes.
    """
    loading = loading or Loading()
    part, note = _placed(part, loading)
    if overfit:
        options |= {"shuffle": False, "max_batches": 1}
    if part.dataset is None and part.augment is None and loading.in_memory is not False:
        made = ResidentBatches(part, spec, **options)
        return made, note or made.note
    workers = worker_count(loading.workers, part.samples)
    what = "augmented" if part.augment else "read"
    note = note or f"{part.samples} rows {what} by DataLoader in {workers or 'no'} extra processes"
    return LoaderBatches(part, spec, workers=workers, **options), note


def _placed(part: Split, loading: Loading) -> tuple[Split, str]:
    """The part, with its rows read into memory where they belong there, and a note where they do not fit."""
    fixed = getattr(part.dataset, "fixed", False)
    if part.dataset is None or loading.in_memory is False or not (fixed or loading.in_memory is True):
        return part, ""
    size = bytes_in_memory(part)
    if loading.in_memory is True or fits(size):
        return load_into_memory(part, worker_count(loading.workers, part.samples)), ""
    return part, f"{too_large(size, 'the')}: {part.samples} rows are read from disk each epoch"


def too_large(nbytes: int, whose: str) -> str:
    """The words that so many bytes do not fit."""
    return f"{nbytes / 2**20:,.0f} MiB are more than {SHARE:.0%} of {whose} free memory"

"""Batches of rows that are read, or made, anew each epoch: from disk, or by augmentation, through `DataLoader`.

Every random draw for a row comes from (seed, epoch, index), whatever process makes it, so the number of
workers changes nothing but the speed, and an epoch can be continued anywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlrun.data.base import Split
from dlrun.data.seeds import derive, permutation
from dlrun.data.source import Batches, BatchOptions, trimmed
from dlrun.errors import DataError, DlrunError, TrainingFailed
from dlrun.generators import forked
from dlrun.processes import die_with, safe_path, set_variables
from dlrun.spec import Batch, DataSpec
from dlrun.torch_errors import is_dead_reader

Key = tuple[int, int]  # epoch and row: all that the randomness of an item depends on
MOST_WORKERS = 4  # that `auto` starts
WORTH_WORKERS = 1000  # rows: for less, starting processes costs more than they save
GRACE_SECONDS = 10  # that a worker goes on after SIGTERM
READ_ROWS = 256  # rows at a time when a whole part is read into memory


class TensorRows(Dataset[tuple[Tensor, ...]]):
    """Rows in memory in the form of rows on disk: `(input, ..., target)` by index."""

    fixed = True

    def __init__(self, inputs: tuple[Tensor, ...], target: Tensor) -> None:
        self.columns = (*inputs, target)

    def __len__(self) -> int:
        return self.columns[-1].shape[0]

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(column[index] for column in self.columns)


class SeededRows(Dataset[Any]):
    """The rows of a part, each made with generators seeded by (seed, epoch, index).

    An error that a user can meet is handed back as a value: raised in a worker it would reach the user as
    that worker's traceback.
    """

    def __init__(self, part: Split, seed: int) -> None:
        self.rows = part.dataset if part.dataset is not None else TensorRows(part.inputs, part.target)
        self.augment = part.augment
        self.seed = seed

    def __getitem__(self, key: Key) -> tuple[Tensor, ...] | DlrunError:
        epoch, index = key
        try:
            with forked(derive(self.seed, f"augment:{epoch}:{index}")):
                first, *others = self.rows[index]
                if self.augment is not None:
                    first = self.augment(first)
            return tuple(torch.as_tensor(value) for value in (first, *others))
        except DlrunError as error:
            return error


class KeyBatches:
    """The batch sampler: the keys of the epoch that is to come, changed between epochs."""

    def __init__(self) -> None:
        self.keys: Sequence[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


def collate(items: list[tuple[Tensor, ...] | DlrunError]) -> Batch | DlrunError:
    """Rows stacked into a batch as stored, or the first error among them."""
    rows = []
    for item in items:
        if isinstance(item, DlrunError):
            return item
        rows.append(item)
    try:
        *inputs, target = (torch.stack(column) for column in zip(*rows, strict=True))
    except (RuntimeError, ValueError) as error:
        return DataError(f"the rows of a batch do not have the same shape: {error}")
    return Batch(tuple(inputs), target)


def begin_worker(variables: Mapping[str, str | None], _: int) -> None:
    """Prepare a process that reads data: it ends with the main process, and leaves signals to it.

    Signals to the whole process group are the main process's business: it finishes its step with our help. After
    SIGTERM there are `GRACE_SECONDS` for that; the signal also comes from a main process that ends.
    """
    die_with(os.getppid())
    set_variables(variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _end_soon)


def _end_soon(*_: Any) -> None:
    signal.alarm(GRACE_SECONDS)


def open_loader(rows: SeededRows, keys: KeyBatches, workers: int, pin: bool) -> DataLoader[Any]:
    """A loader whose workers stay from epoch to epoch. It leaves the global generator alone."""
    with starting() as variables:
        return DataLoader(
            rows,
            batch_sampler=keys,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=partial(begin_worker, variables),
            pin_memory=pin,
            generator=torch.Generator(),
        )


@contextmanager
def starting() -> Iterator[dict[str, str | None]]:
    """Start processes that do not import from the working folder; yields the variables that they set back.

    DataLoader's warning about more workers than cores is not shown: they are the user's own choice.
    """
    with warnings.catch_warnings(), safe_path() as variables:
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield variables


def stream(loader: DataLoader[Any]) -> Iterator[Batch]:
    """The loader's batches; errors that came as values are raised here."""
    with starting():
        batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, DlrunError):
                raise batch
            yield batch
    except RuntimeError as error:
        if is_dead_reader(error):
            raise TrainingFailed(
                f"a process that reads data died ({error}). Often that is memory: try dataset.workers=0.", "crash"
            ) from error
        raise
    finally:
        del batches, loader  # else a traceback that is kept would keep the workers, too


class LoaderBatches(Batches):
    """Batches read by `DataLoader`, prepared on the device.

    Workers start with the first epoch and stay; an epoch that is left early, `close()` and the end of this
    object stop them.
    """

    resident = False

    def __init__(self, part: Split, spec: DataSpec, *, workers: int = 0, **options: Unpack[BatchOptions]) -> None:
        super().__init__(part, spec, **options)
        self.workers = workers
        self.source = SeededRows(part, self.seed)
        self._open: list[tuple[DataLoader[Any], KeyBatches]] = []  # none or one
        self._running: object = None
        weakref.finalize(self, self._open.clear)  # also when Python ends, before it waits for its children

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on; what lies before is not read."""
        if self._running is not None:
            self.close()  # an epoch that was never finished owns those workers, and ends them
        if not self._open:
            keys = KeyBatches()
            self._open.append((open_loader(self.source, keys, self.workers, self.device.type == "cuda"), keys))
        self._running = token = object()
        loader, keys = self._open[0]
        keys.keys = order = self._keys(epoch, start)
        try:
            source = stream(loader)
            del loader
            for batch, rows in zip(source, order, strict=True):
                weight = None if self.weight is None else self.weight[[row for _, row in rows]]
                yield self._ready(batch._replace(weight=weight))
        except BaseException:
            if self._running is token:
                self.close()
            raise
        finally:
            if self._running is token:
                self._running = None

    def close(self) -> None:
        """Stop the workers; the next epoch starts new ones."""
        self._open.clear()

    def _keys(self, epoch: int, start: int) -> list[list[Key]]:
        if self.shuffle:
            order = permutation(self.seed, epoch, self.rows)[: self.samples].tolist()
        else:
            order = list(range(self.samples))
        size = self.batch_size
        return [[(epoch, i) for i in order[b * size : (b + 1) * size]] for b in range(start, self.count)]

    def _ready(self, batch: Batch) -> Batch:
        def send(tensor: Tensor) -> Tensor:
            return tensor.to(self.device, non_blocking=True)

        inputs, target = self.preparation(tuple(send(tensor) for tensor in batch.inputs), send(batch.target))
        ready = Batch(inputs, target, None if batch.weight is None else send(batch.weight))
        return trimmed(ready) if self.text else ready


def worker_count(workers: int | str, rows: int) -> int:
    """How many processes read: `auto` is one a core up to `MOST_WORKERS`, none for few rows.

    A process that may not have children (a daemon, such as a sweep's worker) reads by itself.
    """
    if multiprocessing.current_process().daemon:
        return 0
    if workers != "auto":
        return int(workers)
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return min(MOST_WORKERS, cores) if cores > 1 and rows >= WORTH_WORKERS else 0


def bytes_in_memory(part: Split) -> int:
    """How much memory the part's rows would take, judged by the first."""
    assert part.dataset is not None
    return part.samples * sum(torch.as_tensor(value).nbytes for value in part.dataset[0])


def load_into_memory(part: Split, workers: int = 0) -> Split:
    """The part with its rows in memory; its augmentation stays to be done."""
    keys = KeyBatches()
    rows = range(part.samples)
    keys.keys = [[(0, i) for i in rows[at : at + READ_ROWS]] for at in rows[::READ_ROWS]]
    plain = SeededRows(Split((), part.target, part.dataset), 0)
    batches = list(stream(open_loader(plain, keys, workers, pin=False)))
    inputs = tuple(torch.cat(column) for column in zip(*(batch.inputs for batch in batches), strict=True))
    return replace(part, inputs=inputs, target=torch.cat([batch.target for batch in batches]), dataset=None)

"""The records that a logger is given: `RunBegun`, an `EpochDone` for each epoch, `RunEnded`.

A logger is a function of a record, or a function that takes options and returns one (see docs/loggers.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dlrun.plain import Values, numbers

State = Literal["finished", "pruned", "interrupted", "failed"]
Row: TypeAlias = dict[str, float]  # of metrics.csv: epoch, step, train_loss, val_loss, ..., lr


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """What every record says of its run: name, directory, and an identifier that stays the same when it is resumed."""

    name: str
    path: Path
    id: str


@dataclass(frozen=True, kw_only=True)
class RunBegun(OfRun):
    """A run begins or is resumed.

    Args:
        config: the configuration with dotted keys, such as `{"optimizer.lr": 0.1}`.
        resumed: whether the run goes on from its own checkpoint.
        rows: the epochs before the checkpoint that the run is resumed from.
        given: the step of the last epoch that earlier sessions gave this logger.
    """

    config: Values
    resumed: bool = False
    rows: tuple[Row, ...] = ()
    given: int = 0
    kind: Literal["begun"] = "begun"

    @property
    def missed(self) -> list[Row]:
        """Those of `rows` that this logger was not given by an earlier session."""
        return [row for row in self.rows if row["step"] > self.given]


@dataclass(frozen=True, kw_only=True)
class EpochDone(OfRun):
    """An epoch is done.

    Args:
        row: its row of metrics.csv.
        best: whether it is the best epoch so far.
        again: whether an earlier session, which was killed, has given this logger the same epoch already.
    """

    row: Row
    best: bool = False
    again: bool = False
    kind: Literal["epoch"] = "epoch"


@dataclass(frozen=True, kw_only=True)
class RunEnded(OfRun):
    """A run ends.

    Args:
        state: how it ends.
        summary: the values of summary.json; empty if the run was interrupted or failed.
        figures: the PNG files of the run.
        best: the checkpoint of the best epoch, if there is one.
    """

    state: State
    summary: Values
    figures: tuple[Path, ...] = ()
    best: Path | None = None
    kind: Literal["ended"] = "ended"

    @property
    def results(self) -> dict[str, float]:
        """The numbers of the best epoch and of the test part, such as `best_val_loss` and `test_accuracy`."""
        parts = {part: numbers(self.summary.get(part)) for part in ("best", "test")}
        return {f"{part}_{name}": value for part, row in parts.items() for name, value in row.items()}


Record: TypeAlias = RunBegun | EpochDone | RunEnded
Logger: TypeAlias = Callable[[Record], object]


class Tracker:
    """Base class of loggers that have a method for each kind of record."""

    def __call__(self, record: Record) -> None:
        getattr(self, record.kind)(record)

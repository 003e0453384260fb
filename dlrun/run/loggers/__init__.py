"""Loggers, which record epochs elsewhere than in metrics.csv: each is a function of a row, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlrun.run.loggers.jsonl import jsonl
from dlrun.run.loggers.tensorboard import tensorboard
from dlrun.store.rundir import RunDir

Logger = Callable[[Mapping[str, float]], None]


def make_logger(name: str, run: RunDir, history: list[dict[str, float]]) -> Logger:
    """Make the logger of that name. `history` holds the rows of the epochs before a resume."""
    if name == "jsonl":
        return jsonl(run, history)
    if name == "tensorboard":
        return tensorboard(run, history)
    return lambda row: None

"""Where records go besides the run directory's own files: one file each, a function of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlrun.run.loggers.jsonl import jsonl
from dlrun.run.loggers.tensorboard import tensorboard
from dlrun.store.rundir import RunDir

Logger = Callable[[Mapping[str, float]], None]


def make_logger(name: str, run: RunDir, history: list[dict[str, float]]) -> Logger:
    """The logger of that name; `history` holds the rows of epochs done before a resume."""
    if name == "jsonl":
        return jsonl(run, history)
    if name == "tensorboard":
        return tensorboard(run, history)
    return lambda row: None

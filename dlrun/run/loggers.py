"""Loggers, which record epochs elsewhere than in metrics.csv. Each is made with the rows before a resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from dlrun.plain import json_value
from dlrun.store.files import open_append, write_atomic
from dlrun.store.rundir import RunDir

Logger = Callable[[Mapping[str, float]], None]


def make_logger(name: str, run: RunDir, history: list[dict[str, float]]) -> Logger:
    """Make the logger of that name, which takes a row for each epoch. `history` holds the rows before a resume."""
    if name == "jsonl":
        return jsonl(run, history)
    if name == "tensorboard":
        return tensorboard(run, history)
    return lambda row: None


def jsonl(run: RunDir, history: list[dict[str, float]]) -> Logger:
    """RUN/metrics.jsonl: a JSON object for each epoch, for other programs."""
    path = run.file("metrics.jsonl")
    write_atomic(path, "".join(json.dumps(json_value(row)) + "\n" for row in history).encode())

    def write(row: Mapping[str, float]) -> None:
        with open_append(path) as file:
            file.write(json.dumps(json_value(row)) + "\n")

    return write


def tensorboard(run: RunDir, history: list[dict[str, float]]) -> Logger:
    """RUN/tensorboard: event files (https://pytorch.org/docs/stable/tensorboard.html)."""
    from torch.utils.tensorboard import SummaryWriter

    purge = int(history[-1]["step"]) + 1 if history else None
    writer = SummaryWriter(str(run.file("tensorboard")), purge_step=purge)

    def write(row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write

"""Loggers that write files in the run directory."""

from __future__ import annotations

import json

from dlrun.loggers.record import EpochDone, Record, Row, RunBegun, RunEnded, Tracker
from dlrun.plain import json_value
from dlrun.store.files import open_append, write_atomic


def default(record: Record) -> None:
    """Only the files that every run directory has."""


def jsonl(record: Record) -> None:
    """RUN/metrics.jsonl: a JSON object for each epoch. The rest is in config.yaml and summary.json."""
    path = record.path / "metrics.jsonl"
    if record.kind == "begun":
        write_atomic(path, "".join(jsonl_row(row) for row in record.rows).encode())
    elif record.kind == "epoch":
        with open_append(path) as file:
            file.write(jsonl_row(record.row))


def jsonl_row(row: Row) -> str:
    """A row as a line of JSON."""
    return json.dumps(json_value(row)) + "\n"


class TensorBoard(Tracker):
    """RUN/tensorboard: event files (https://pytorch.org/docs/stable/tensorboard.html)."""

    def begun(self, record: RunBegun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = int(record.rows[-1]["step"]) + 1 if record.rows else None
        self.writer = SummaryWriter(str(record.path / "tensorboard"), purge_step=purge)
        values = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in record.config.items()}
        self.writer.add_hparams(values, {}, run_name=".")  # by default it makes a run of its own for them
        for row in record.missed:
            self.add(row)

    def epoch(self, record: EpochDone) -> None:
        self.add(record.row)

    def add(self, row: Row) -> None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                self.writer.add_scalar(name, value, int(row["step"]))
        self.writer.flush()

    def ended(self, record: RunEnded) -> None:
        from matplotlib.image import imread

        for path in record.figures:
            self.writer.add_image(path.stem, imread(path)[..., :3], dataformats="HWC")
        for name, value in record.results.items():
            self.writer.add_scalar(name, value)
        if record.best is not None:
            self.writer.add_text("best checkpoint", str(record.best))
        self.writer.close()

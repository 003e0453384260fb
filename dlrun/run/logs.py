"""What training writes as it goes: metrics.csv, steps.csv, the user's logger, and lines on the screen."""

from __future__ import annotations

import math
from typing import Any

from dlrun.engine.loop import EpochRecord, Progress
from dlrun.run.doctor import Doctor
from dlrun.run.loggers import make_logger
from dlrun.store.files import CsvTable, rewrite_table

LINES = 50  # printed when print_every is auto


class Logs:
    """`with Logs(session) as logs:` opens the tables, first bringing them to where the state stands."""

    def __init__(self, session: Any) -> None:
        self.session = session
        state, config = session.state, session.config
        self.epochs = session.plan.epochs
        auto = max(1, math.ceil(self.epochs / LINES))
        self.print_every = auto if config.trainer.print_every == "auto" else config.trainer.print_every
        self.columns = columns(state.metric, session.built.batches)
        rewrite_table(session.run.metrics, self.columns, state.history.rows)
        self.metrics = CsvTable(session.run.metrics, self.columns)
        self.step_table = CsvTable(session.run.steps, ["step", "loss", "lr"])
        self.logger = make_logger(config.logger.name, session.run, state.history.rows)
        self.doctor = Doctor(session)
        session.screen.expect(self.columns, self.epochs)

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.metrics.close()
        finally:
            self.step_table.close()

    def flush(self) -> None:
        """Everything up to here is in the files."""
        self.metrics.flush()
        self.step_table.flush()

    def steps(self, event: Progress) -> None:
        """Some more rows of steps.csv."""
        self.step_table.add({"step": row.step, "loss": row.loss, "lr": row.lr} for row in event.rows)

    def epoch(self, record: EpochRecord) -> None:
        """One more row of metrics.csv, and now and then a line on the screen."""
        self.metrics.add([record.row])
        self.logger(record.row)
        epoch, state = int(record.row["epoch"]), self.session.state
        last = epoch == self.epochs or state.stop_reason is not None or record.partial
        if epoch % self.print_every == 0 or epoch == 1 or last:
            self.session.screen.epoch(record, self.epochs)
        for line in self.doctor.after(record):
            self.session.screen.line(f"  {line}", style="yellow")


def columns(metric: Any, batches: dict[str, Any]) -> list[str]:
    """The columns of metrics.csv for this task and these parts."""
    names = [f"train_{name}" for name in ("loss", *metric.train_names)]
    for part in batches:
        if part != "train":
            names += [f"{part}_{name}" for name in ("loss", *metric.names)]
    return ["epoch", "step", *names, "lr", "epoch_seconds", "samples_per_second"]

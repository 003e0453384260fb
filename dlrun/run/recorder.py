"""`Recorder`: record the events of a run in metrics.csv, steps.csv, a logger, checkpoints and on the screen."""

from __future__ import annotations

import math
from contextlib import ExitStack

from dlrun.engine.loop import EpochRecord, Progress
from dlrun.run.context import RunContext
from dlrun.run.doctor import Doctor
from dlrun.run.logging import RunLogger
from dlrun.run.predicting import BestPredictions
from dlrun.run.saver import Saver
from dlrun.store.files import CsvTable, cut_steps, rewrite_table

PRINTED_EPOCHS = 50  # if print_every is auto


class Recorder:
    """Records what `fit` yields. A session drives both; a notebook can iterate over the events itself:

        components = build(config)
        context = RunContext(open_run(config), components)
        begin(context)  # config.yaml and status.json: from here on it is a run
        with Recorder(context) as recorder:
            for event in fit(context.state, context.batches, context.plan):
                recorder.record(event)
                ...  # context.state is a complete checkpoint here; `break` ends training
        context.close()

    On entry, the tables are opened and cut to the present state; on exit without an exception, the last checkpoint is
    written. The constructor changes no file.
    """

    metrics: CsvTable
    step_table: CsvTable

    def __init__(self, context: RunContext) -> None:
        self.context, self.saver, self.doctor = context, Saver(context), Doctor(context)
        self.predictions, self.logger = BestPredictions(context), RunLogger(context)
        self.epochs = context.plan.epochs
        every = context.config.trainer.print_every
        self.print_every = max(1, math.ceil(self.epochs / PRINTED_EPOCHS)) if every == "auto" else every

    def __enter__(self) -> Recorder:
        context, run, history = self.context, self.context.run, self.context.state.history
        names = columns(context)
        rewrite_table(run.metrics, names, history.rows)
        cut_steps(run.steps, context.state.step)
        with ExitStack() as opened:  # closed if a later one cannot be opened
            self.metrics = CsvTable(run.metrics, names).open()
            opened.callback(self.metrics.close)
            self.step_table = CsvTable(run.steps, ["step", "loss", "lr"]).open()
            opened.callback(self.step_table.close)
            opened.pop_all()
        self.logger.begin()
        context.screen.expect(names, self.epochs)
        context.screen.start_bar(context.batches_to_do(), context.batches_done())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as stack:  # each of these may fail if the disk is full
            stack.callback(self.context.screen.stop_bar)
            stack.callback(self.doctor.close)
            stack.callback(self.step_table.close)
            stack.callback(self.metrics.close)
            if kind is None:
                self.save()

    def record(self, event: Progress | EpochRecord) -> None:
        """Record one event, and write a checkpoint if one is due."""
        if isinstance(event, Progress):
            self.steps(event)
        else:
            self.epoch(event)
        if self.saver.is_due(event):
            self.save()

    def save(self) -> None:
        """Flush the tables and write a checkpoint."""
        self.metrics.flush()
        self.step_table.flush()
        self.saver.save()

    def steps(self, event: Progress) -> None:
        """Add rows to steps.csv, and update the progress bar."""
        self.step_table.add({"step": row.step, "loss": row.loss, "lr": row.lr} for row in event.rows)
        self.context.screen.advance(event, event.epoch * event.batches + event.batch, self.epochs)

    def epoch(self, record: EpochRecord) -> None:
        """Add a row to metrics.csv, and print a line every `print_every` epochs."""
        context = self.context
        self.saver.best_unsaved |= record.is_best
        self.metrics.add([record.row])
        self.logger.epoch(record.row, record.is_best)
        epoch = int(record.row["epoch"])
        last = epoch == self.epochs or context.state.stop_reason is not None or record.partial
        printed = epoch % self.print_every == 0 or epoch == 1 or last
        if printed:
            context.screen.epoch(record, self.epochs)
        for line in self.predictions.after_best(printed) if record.is_best else []:
            context.screen.line(line)
        for line in self.doctor.after(record):
            context.screen.line(f"  {line}", style="yellow")


def columns(context: RunContext) -> list[str]:
    """The columns of metrics.csv for the task and the parts of this run."""
    metric = context.state.metric
    names = [f"train_{name}" for name in ("loss", *metric.train_names)]
    for part in context.batches:
        if part != "train":
            names += [f"{part}_{name}" for name in ("loss", *metric.names)]
    return ["epoch", "step", *names, "lr", "epoch_seconds", "samples_per_second"]

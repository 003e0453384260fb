"""`Saver`: write checkpoints when they are due, and restore them.

best.pt is written before last.pt. Until last.pt is written, too, the best.pt that belongs to the older last.pt is kept
as best-1.pt. Otherwise a crash between the two would leave files of different moments.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from dlrun.engine.loop import EpochRecord, Progress
from dlrun.engine.state import Best
from dlrun.errors import Diverged, RunError
from dlrun.plain import Values
from dlrun.run.context import RunContext
from dlrun.store import checkpoint as files
from dlrun.store.contents import BEST_FILE

BEST_KEYS = ("epoch", "step", "best", "config", "engine", "spec")


class Saver:
    """The checkpoints of one session of a run."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.run, self.state = context.run, context.state
        options = context.config.checkpoint
        self.minutes, self.steps, self.epochs = (options.every_minutes, options.every_steps, options.every_epochs)
        self.max_steps = context.plan.max_steps
        self.at = time.monotonic()  # time of the last checkpoint
        self.saved: tuple[int, ...] = ()  # position of the last checkpoint in training
        self.best_unsaved = False

    @property
    def former_best(self) -> Path:
        """The best.pt that belongs to last.pt, while best.pt is newer."""
        return self.run.checkpoints / "best-1.pt"

    def is_due(self, event: Progress | EpochRecord) -> bool:
        """Whether a checkpoint is due by steps, epochs or minutes, or because `max_steps` ends the epoch early."""
        state = self.state
        due = self.minutes is not None and time.monotonic() - self.at >= 60 * self.minutes
        if isinstance(event, EpochRecord):
            return not event.partial and (due or (self.epochs is not None and state.epoch % self.epochs == 0))
        due = due or (self.steps is not None and state.step % self.steps == 0)
        return due or (self.max_steps is not None and state.step >= self.max_steps)

    def save(self) -> None:
        """Write best.pt if there is a new best epoch, then last.pt unless it is up to date.

        Raises `Diverged` for weights that are not finite. Every run ends with a save, so that no run with such weights
        ends as finished.
        """
        position = (self.state.epoch, self.state.cursor, self.state.step, len(self.state.history.rows))
        if position == self.saved and not self.best_unsaved:
            return
        if lost := self.state.not_finite():  # the last checkpoint with finite weights is kept
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise Diverged(f"after step {self.state.step} the weights are not finite ({lost[0]}{more})")
        context = self.context
        values = self.state.state_dict()
        values |= {"config": context.config.to_dict(), "engine": list(context.components.engine)}
        self.save_best(values)
        if self.history_is_partial():
            return
        files.write_last(self.run, values, context.config.checkpoint.keep)
        self.former_best.unlink(missing_ok=True)
        self.run.write_status(epoch=self.state.epoch, step=self.state.step, seconds=context.seconds())
        self.run.forget_aside()
        self.at, self.saved = time.monotonic(), position

    def history_is_partial(self) -> bool:
        """Whether `max_steps` ended the epoch early: last.pt was written before the epoch's record, and is kept."""
        rows = self.state.history.rows
        return bool(rows) and self.state.cursor > 0 and rows[-1]["epoch"] == self.state.epoch + 1

    def save_best(self, values: Values) -> None:
        """Write best.pt: the weights of the best epoch and what is needed to use them, without the optimizer."""
        if not self.best_unsaved or self.state.best_weights is None:
            return
        if self.run.best.exists() and not self.former_best.exists():
            keep_twice(self.run.best, self.former_best)
        best = {key: values[key] for key in BEST_KEYS} | {"model": self.state.best_weights}
        files.write_checkpoint(self.run.best, best)
        self.best_unsaved = False

    def restore(self, checkpoint: Values) -> None:
        """Load a checkpoint into the state. Raises `RunError` if it does not fit or is damaged."""
        with files.loading("the checkpoint"):
            self.state.load_state_dict(checkpoint)
        batches = len(self.context.batches["train"])
        if self.state.cursor > batches:
            reason = f"it is of batch {self.state.cursor} of an epoch that has {batches}"
            raise RunError(f"the checkpoint does not fit this configuration: {reason}.")
        if self.state.best is not None:
            self.restore_best(self.state.best)

    def restore_best(self, best: Best) -> None:
        """Load the weights of the best epoch. If they are lost, the best epoch is chosen among the remaining ones."""
        device = str(self.state.device)
        for path in (self.run.best, self.former_best):
            with suppress(RunError):
                values = files.read_checkpoint(path, device, BEST_FILE)
                if moment(values.get("best")) == moment(vars(best)):
                    self.state.best_weights = values["model"]
                    os.replace(path, self.run.best)
                    return
        if best.epoch == self.state.epoch and self.state.cursor == 0:  # the checkpoint has these weights
            self.state.keep_best_weights()
            self.best_unsaved = True
            return
        self.state.best = None
        line = "best.pt does not belong to this checkpoint: the best epoch is chosen from here on"
        self.context.screen.line(line, style="yellow")


def moment(best: object) -> tuple[object, ...]:
    """Values that identify a best epoch."""
    return (best["epoch"], best["row"].get("step"), best["value"]) if isinstance(best, dict) else ()


def keep_twice(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it if the file system does not support links."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)

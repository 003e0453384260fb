"""One run, from a frozen configuration to a finished directory: the only caller of `fit`.

Used by the command, the library and sweep workers alike. It builds (or resumes), trains, writes what the engine
yields, answers signals, and closes the run with its summary and figures.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.config.config import Config
from dlrun.errors import DlrunError, RunError, cannot_write
from dlrun.run.saver import Saver
from dlrun.run.screen import Screen, shorter
from dlrun.run.signals import EXIT_CODES, Interrupted, Signals
from dlrun.store.rundir import RunDir, claim, fresh_dir

OUTPUTS = Path("outputs")


@dataclass
class Outcome:
    """What became of a run."""

    run: RunDir | None
    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)
    state: Any = None  # engine.state.TrainState


def run_command(config: Config, *, overrides: Sequence[str], argv: Sequence[str], quiet: bool) -> int:
    """`dlrun [OVERRIDES]`: one run on the screen. Returns the exit code."""
    return train(config, overrides=overrides, argv=argv, screen=Screen(quiet=quiet)).exit_code


def train(
    config: Config,
    *,
    overrides: Sequence[str] = (),
    argv: Sequence[str] = (),
    screen: Screen | None = None,
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> Outcome:
    """Train one configuration.

    Args:
        config: the frozen configuration.
        overrides: the words that made it, for overrides.txt.
        argv: the whole command, for environment.json.
        screen: where to print; None prints nothing.
        on_epoch: called with every row of metrics.csv; returning True ends the run there (pruning).

    Raises `DlrunError` for what the user can mend before training; a run that fails later is an `Outcome`.
    """
    screen = screen or Screen(silent=True, terminal=False)
    if config.resume == "auto" and config.run.dir and RunDir(user_path(config.run.dir)).begun:
        from dlrun.run.resume import resume

        return resume(RunDir(user_path(config.run.dir)), config, screen=screen, argv=argv, on_epoch=on_epoch)
    with Signals() as signals:
        try:
            from dlrun.run.build import build
            from dlrun.run.initial import check_initial

            built = build(config)
            check_initial(config, built.state.model)
            session = Session(open_run(config), built, screen, signals, argv=argv, on_epoch=on_epoch)
            return session.go(overrides=overrides)
        except Interrupted as interrupted:
            return before_it_began(interrupted, screen)


def before_it_began(interrupted: Interrupted, screen: Screen, run: RunDir | None = None) -> Outcome:
    """A signal came while the components were made: there is nothing to save."""
    screen.line(f"Stopped by {interrupted} before training began.", style="yellow", always=True)
    return Outcome(run, interrupted.exit_code)


def run_frozen(
    config: Config,
    run: RunDir,
    *,
    screen: Screen,
    overrides: Sequence[str] = (),
    argv: Sequence[str] = (),
    on_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> Outcome:
    """One frozen job in the directory that it is given: begun, gone on with, or finished already."""
    if run.begun:
        from dlrun.run.resume import resume

        return resume(run, config, screen=screen, argv=argv, on_epoch=on_epoch)
    values = config.to_dict()
    values["run"] |= {"dir": str(run.path), "overwrite": False}
    return train(Config.checked(values), screen=screen, overrides=overrides, argv=argv, on_epoch=on_epoch)


def open_run(config: Config) -> RunDir:
    """The run's own directory, locked: `run.dir`, or a fresh one. Raises `RunError`."""
    if config.run.dir:
        return writable(claim, user_path(config.run.dir), overwrite=config.run.overwrite)
    words = config.run.name or f"{config.model.name}-{config.dataset.name}"
    words = "".join(c if c.isalnum() or c in "._-" else "-" for c in words)
    run = writable(fresh_dir, OUTPUTS, words)
    run.lock()
    return run


def user_path(path: str) -> Path:
    """A path as the user wrote it, with `~`."""
    return Path(os.path.expanduser(path))


def writable(make: Callable[..., RunDir], path: Path, *words: Any, **options: Any) -> RunDir:
    """Make a run directory, or say clearly why it cannot be made."""
    try:
        return make(path, *words, **options)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error


class Session:
    """A run while it lives: its directory, its components, and what has been written so far."""

    def __init__(
        self,
        run: RunDir,
        built: Any,
        screen: Screen,
        signals: Signals,
        *,
        argv: Sequence[str],
        on_epoch: Callable[[dict[str, float]], bool] | None = None,
    ) -> None:
        self.run, self.built, self.screen, self.signals = run, built, screen, signals
        self.config, self.state = built.config, built.state
        self.argv, self.on_epoch = argv, on_epoch
        self.plan = built.plan.with_stop(signals.stop)
        self.started = time.monotonic()
        self.seconds_before = float(run.read_status().get("seconds") or 0.0)
        self.pruned = False
        self.training = False  # has it begun to take steps?
        self.closing = False  # has it taken them all? Then no failure is to be found in one
        self.saver = Saver(self)

    # -- the story of a run -------------------------------------------------------------------------------------

    def go(self, *, overrides: Sequence[str] = (), checkpoint: dict[str, Any] | None = None) -> Outcome:
        """Train (from a checkpoint, if one is given), and leave a finished directory, or one that says why not."""
        from dlrun.run import failure

        self.overrides, self.resumed = list(overrides), checkpoint is not None
        try:
            return self.story(checkpoint)
        except (Exception, SystemExit) as error:
            return failure.failed(self, error)  # or raised again: the user's input, or a bug of ours
        finally:
            self.screen.close()
            self.built.close()
            self.run.unlock()

    def story(self, checkpoint: dict[str, Any] | None) -> Outcome:
        """Begin, train, finish; or be interrupted."""
        try:
            self.begin()
            if checkpoint is None:
                self.initial_weights()
            else:
                self.saver.restore(checkpoint)
            self.signals.hold()
            self.train()
            summary = None if self.signals.stop() else self.close()
        except Interrupted as interrupted:
            self.signals.number = interrupted.number
            summary = None
        return self.interrupted() if summary is None else self.finished(summary)

    def begin(self) -> None:
        """Write what is known before the first step, and print the header."""
        from dlrun.run import opening

        opening.write_facts(self)
        self.screen.open_log(self.run.log)
        opening.print_header(self)

    def initial_weights(self) -> None:
        """Start from the weights that `init_from` names (a checkpoint of this run has them already)."""
        if self.config.init_from is not None:
            from dlrun.run.initial import load_initial

            self.screen.line(load_initial(self, self.state.model))

    def train(self) -> None:
        """Ask the engine for more until it is done or a stop is asked for, writing what it yields."""
        import torch

        from dlrun.engine.loop import Progress, fit
        from dlrun.run.logs import Logs

        logs = Logs(self)
        plan = self.profiled() if self.config.trainer.profile else self.plan
        batches = len(self.built.batches["train"])
        anomaly = torch.autograd.set_detect_anomaly(True) if self.config.trainer.detect_anomaly else nullcontext()
        self.screen.start_bar(self.batches_to_do(), self.batches_done())
        self.training = True
        try:
            with anomaly, logs:
                for event in fit(self.state, self.built.batches, plan):
                    if isinstance(event, Progress):
                        logs.steps(event)
                        self.screen.advance(event, event.epoch * batches + event.batch, self.plan.epochs)
                        self.saver.maybe_save(logs, stepped=True)
                    else:
                        self.saver.best_unsaved |= event.is_best
                        logs.epoch(event)
                        self.pruned = self.on_epoch is not None and self.on_epoch(event.row)
                        if not event.partial:
                            self.saver.maybe_save(logs, stepped=False)
                    if self.signals.stop() or self.pruned:
                        break
                self.saver.save(logs)
        finally:
            self.screen.stop_bar()
            if plan is not self.plan:
                plan.step.write()
                self.screen.line(f"  {plan.step.said()}")

    def batches_to_do(self) -> int:
        """Of the whole run, from its beginning."""
        batches, plan = len(self.built.batches["train"]), self.plan
        total = batches * plan.epochs
        if plan.max_steps is None:
            return total
        epochs, rest = divmod(plan.max_steps, math.ceil(batches / plan.accumulate))
        return min(total, epochs * batches + rest * plan.accumulate)

    def batches_done(self) -> int:
        """Of the whole run, by now."""
        return self.state.epoch * len(self.built.batches["train"]) + self.state.cursor

    def profiled(self) -> Any:
        """The plan with a step that is watched for a while."""
        from dataclasses import replace

        from dlrun.run.profiling import ProfiledStep

        steps = self.batches_to_do() - self.batches_done()
        step = ProfiledStep(self.plan.step, self.run, self.state.device.type, steps)
        return replace(self.plan, step=step)

    def seconds(self) -> float:
        """Of wall time that this run has taken, earlier sessions included."""
        return self.seconds_before + time.monotonic() - self.started

    # -- endings ------------------------------------------------------------------------------------------------

    def close(self) -> dict[str, Any] | None:
        """Test the selected weights, write summary and figures, print the closing table. None: a stop came first."""
        from dlrun.run.closing import close_run

        self.closing = True
        return close_run(self)

    def finished(self, summary: dict[str, Any]) -> Outcome:
        """All is written."""
        state = "pruned" if self.pruned else "finished"
        self.run.write_status(state=state, ended=now(), exit_code=0, error=None, seconds=self.seconds())
        return Outcome(self.run, 0, summary, self.state)

    def interrupted(self) -> Outcome:
        """A signal ended the run: everything is saved, and can go on."""
        number = signal.Signals(self.signals.number or signal.SIGINT)
        code = EXIT_CODES[number]
        if self.run.put_back():
            words = f"Stopped by {number.name} before the first checkpoint: the run that was here is back."
            self.screen.line(words, style="yellow", always=True)
            return Outcome(self.run, code)
        self.run.write_status(state="interrupted", ended=now(), exit_code=code, error=f"stopped by {number.name}")
        place = f"in epoch {self.state.epoch + 1}" if self.state.epoch < self.plan.epochs else "at the end"
        words = f"Stopped by {number.name} {place}, after step {self.state.step}."
        self.screen.line(words, style="yellow", always=True)
        self.screen.line(f"Go on with:  {words_for('resume', self.run.path)}", always=True)
        return Outcome(self.run, code, state=self.state)


def words_for(command: str, path: Path) -> str:
    """A command about a run, as it can be typed."""
    word = shorter(path)
    if "=" in word.partition("/")[0]:  # else it would be configuration
        word = f"./{word}"
    return f"dlrun {command} {shlex.quote(word)}"


def now() -> str:
    """The time as ISO 8601 with the zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


__all__ = ["DlrunError", "Outcome", "Session", "now", "run_command", "train"]

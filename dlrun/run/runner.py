"""One run, from a frozen configuration to a finished directory: the only caller of `fit`.

Used by the command, the library and sweep workers alike. It builds (or resumes), trains, writes what the engine
yields, answers signals, and closes the run with its summary and figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.config.schema import Config
from dlrun.errors import DlrunError, RunError
from dlrun.run.rundir import RunDir, claim, fresh_dir
from dlrun.run.screen import Screen, shorter
from dlrun.run.signals import Interrupted, Signals

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
    if config.resume == "auto" and config.run.dir and (Path(config.run.dir) / "status.json").exists():
        from dlrun.run.resume import resume

        return resume(RunDir(config.run.dir), config, screen=screen, argv=argv, on_epoch=on_epoch)
    with Signals() as signals:
        try:
            from dlrun.run.build import build

            built = build(config)
            run = open_run(config)
        except Interrupted as interrupted:
            return Outcome(None, interrupted.exit_code)
        session = Session(run, built, screen, signals, argv=argv, on_epoch=on_epoch)
        return session.go(overrides=overrides)


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
    if run.status.exists():
        from dlrun.run.resume import resume

        return resume(run, config, screen=screen, argv=argv, on_epoch=on_epoch)
    values = config.to_dict()
    values["run"] |= {"dir": str(run.path), "overwrite": False}
    return train(Config.checked(values), screen=screen, overrides=overrides, argv=argv, on_epoch=on_epoch)


def open_run(config: Config) -> RunDir:
    """The run's own directory, locked: `run.dir`, or a fresh one. Raises `RunError`."""
    if config.run.dir:
        return writable(claim, Path(config.run.dir).expanduser(), overwrite=config.run.overwrite)
    words = config.run.name or f"{config.model.name}-{config.dataset.name}"
    words = "".join(c if c.isalnum() or c in "._-" else "-" for c in words)
    run = writable(fresh_dir, OUTPUTS, words)
    run.lock()
    return run


def writable(make: Callable[..., RunDir], path: Path, *words: Any, **options: Any) -> RunDir:
    """Make a run directory, or say clearly why it cannot be made."""
    try:
        return make(path, *words, **options)
    except OSError as error:
        raise RunError(f"cannot write to {path}: {error.strerror or error}.") from error


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
        self.saved_at = time.monotonic()
        self.best_unsaved = False
        self.started = time.monotonic()
        self.seconds_before = float(run.read_status().get("seconds") or 0.0)
        self.pruned = False

    # -- the story of a run -------------------------------------------------------------------------------------

    def go(self, *, overrides: Sequence[str] = (), checkpoint: dict[str, Any] | None = None) -> Outcome:
        """Train (from a checkpoint, if one is given), and leave a finished directory, or one that says why not."""
        from dlrun.run import failure

        self.overrides, self.resumed = list(overrides), checkpoint is not None

        try:
            self.begin(overrides, resumed=checkpoint is not None)
            self.initial_weights(checkpoint)
            if checkpoint is not None:
                self.restore(checkpoint)
            self.signals.hold()
            self.train()
            if self.signals.stop():
                return self.interrupted()
            return self.finish()
        except Interrupted as interrupted:
            self.signals.number = interrupted.number
            return self.interrupted()
        except Exception as error:
            return failure.failed(self, error)  # or raised again: the user's input, or a bug of ours
        finally:
            self.screen.close()
            self.run.unlock()

    def begin(self, overrides: Sequence[str], *, resumed: bool) -> None:
        """Write what is known before the first step, and print the header."""
        from dlrun.run import opening

        opening.write_facts(self, overrides, resumed=resumed)
        self.screen.open_log(self.run.log)
        opening.print_header(self)

    def initial_weights(self, checkpoint: dict[str, Any] | None) -> None:
        """Start from the weights that `init_from` names (a checkpoint of this run has them already)."""
        if self.config.init_from is None or checkpoint is not None:
            return
        from dlrun.run.initial import load_initial

        self.screen.line(load_initial(self))

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the checkpoint was taken; rows beyond it are cut off."""
        from dlrun.run import checkpoint as files
        from dlrun.run.rundir import cut_steps

        self.state.load_state_dict(checkpoint)
        if self.state.best is not None:
            if self.run.best.exists():
                self.state.best_weights = files.read(self.run.best, str(self.state.device))["model"]
            elif self.state.best.epoch == self.state.epoch:
                self.state.keep_best_weights()
        cut_steps(self.run.steps, self.state.step)

    def train(self) -> None:
        """Ask the engine for more until it is done or a stop is asked for, writing what it yields."""
        import torch

        from dlrun.engine.loop import Progress, fit
        from dlrun.run.logs import Logs

        logs = Logs(self)
        plan = self.profiled() if self.config.trainer.profile else self.plan
        batches = len(self.built.batches["train"])
        anomaly = (
            torch.autograd.set_detect_anomaly(True) if self.config.trainer.detect_anomaly else nullcontext()
        )
        self.screen.start_bar(batches * self.plan.epochs, self.state.epoch * batches + self.state.cursor)
        try:
            with anomaly, logs:
                for event in fit(self.state, self.built.batches, plan):
                    if isinstance(event, Progress):
                        logs.steps(event)
                        self.screen.advance(event, event.epoch * batches + event.batch, self.plan.epochs)
                        self.maybe_save(logs, stepped=True)
                    else:
                        self.best_unsaved |= event.is_best
                        logs.epoch(event)
                        self.pruned = self.on_epoch is not None and self.on_epoch(event.row)
                        if not event.partial:
                            self.maybe_save(logs, stepped=False)
                    if self.signals.stop() or self.pruned:
                        break
                self.save(logs)
        finally:
            self.screen.stop_bar()
            if plan is not self.plan:
                plan.step.write()
                self.screen.line(f"  profile: {shorter(self.run.file('profile.txt'))}, and trace.json beside it")

    def profiled(self) -> Any:
        """The plan with a step that is watched for a while."""
        from dataclasses import replace

        from dlrun.run.profiling import ProfiledStep

        return replace(self.plan, step=ProfiledStep(self.plan.step, self.run, self.state.device.type))

    def seconds(self) -> float:
        """Of wall time that this run has taken, earlier sessions included."""
        return self.seconds_before + time.monotonic() - self.started

    # -- checkpoints --------------------------------------------------------------------------------------------

    def maybe_save(self, logs: Any, *, stepped: bool) -> None:
        """Write a checkpoint if one is due by steps, epochs or minutes."""
        options, state = self.config.checkpoint, self.state
        due = (
            options.every_minutes is not None
            and time.monotonic() - self.saved_at >= 60 * options.every_minutes
        )
        if stepped and options.every_steps is not None:
            due = due or state.step % options.every_steps == 0
        if not stepped and options.every_epochs is not None:
            due = due or state.epoch % options.every_epochs == 0
        out_of_steps = self.plan.max_steps is not None and state.step >= self.plan.max_steps
        if due or (stepped and out_of_steps and state.cursor > 0):
            self.save(logs)

    def save(self, logs: Any) -> None:
        """Write best.pt (if it changed), then last.pt: a crash between the two loses nothing."""
        from dlrun.run import checkpoint as files

        if self.history_is_partial():
            self.save_best(files, self.state.state_dict())
            return
        logs.flush()
        values = self.state.state_dict() | {
            "config": self.config.to_dict(),
            "engine": list(self.built.engine),
        }
        self.save_best(files, values)
        files.write_last(self.run, values, self.config.checkpoint.keep)
        self.run.write_status(epoch=self.state.epoch, step=self.state.step, seconds=self.seconds())
        self.run.forget_aside()
        self.saved_at = time.monotonic()

    def history_is_partial(self) -> bool:
        """max_steps cut the epoch short: last.pt was written before its record, and stays."""
        rows = self.state.history.rows
        return bool(rows) and self.state.cursor > 0 and rows[-1]["epoch"] == self.state.epoch + 1

    def save_best(self, files: Any, values: dict[str, Any]) -> None:
        """best.pt holds the best weights and what is needed to use them; no optimizer."""
        if not self.best_unsaved or self.state.best_weights is None:
            return
        keys = ("format", "epoch", "step", "best", "config", "engine", "spec")
        best = {key: values.get(key) for key in keys} | {"model": self.state.best_weights}
        files.write(self.run.best, best | {"config": self.config.to_dict()})
        self.best_unsaved = False

    # -- endings ------------------------------------------------------------------------------------------------

    def interrupted(self) -> Outcome:
        """A signal ended the run: everything is saved, and can go on."""
        import signal

        from dlrun.run.signals import EXIT_CODES

        number = signal.Signals(self.signals.number or signal.SIGINT)
        code = EXIT_CODES[number]
        self.run.write_status(
            state="interrupted", ended=now(), exit_code=code, error=f"stopped by {number.name}"
        )
        place = f"epoch {self.state.epoch + 1}, step {self.state.step}"
        self.screen.line(f"Stopped by {number.name} in {place}.", style="yellow", always=True)
        self.screen.line(f"Go on with:  dlrun resume {shorter(self.run.path)}", always=True)
        return Outcome(self.run, code, state=self.state)

    def finish(self) -> Outcome:
        """Test the selected weights, write summary and figures, print the closing table."""
        from dlrun.run.closing import close_run

        summary = close_run(self)
        state = "pruned" if self.pruned else "finished"
        self.run.write_status(state=state, ended=now(), exit_code=0, error=None)
        return Outcome(self.run, 0, summary, self.state)


def now() -> str:
    """The time as ISO 8601 with the zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


__all__ = ["DlrunError", "Outcome", "Session", "now", "run_command", "train"]

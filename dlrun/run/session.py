"""`Session`: drive `fit` for one run, from its first file to the closing table or to a failure."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch

from dlrun.engine.loop import EpochRecord, fit
from dlrun.errors import COMPONENT_RAISES
from dlrun.loggers.record import State
from dlrun.plain import Values
from dlrun.run.capsule import keep_step
from dlrun.run.closing import close_run
from dlrun.run.context import LoadInitial, RunContext
from dlrun.run.failure import failed
from dlrun.run.opening import begin
from dlrun.run.outcome import Outcome
from dlrun.run.profiling import ProfiledStep
from dlrun.run.recorder import Recorder
from dlrun.run.screen import words_for
from dlrun.run.signals import EXIT_CODES, Interrupted
from dlrun.store.failure import Failure
from dlrun.store.files import now

OnEpoch = Callable[[dict[str, float]], bool]  # is called with each row of metrics.csv; True ends the run (pruning)


class Session:
    """Trains one run. Its directory is complete afterwards, or its status.json says why it is not."""

    def __init__(self, context: RunContext, load_initial: LoadInitial, on_epoch: OnEpoch | None = None) -> None:
        self.context, self.load_initial, self.on_epoch = context, load_initial, on_epoch
        self.recorder = Recorder(context)

    def go(self, checkpoint: Values | None = None) -> Outcome:
        """Train, from a checkpoint if one is given. Raises the errors that `failed` leaves to the command line."""
        context = self.context
        context.resumed = checkpoint is not None
        try:
            return self.run_stages(checkpoint)
        except COMPONENT_RAISES as error:
            self.recorder.logger.end("failed")
            failure = failed(context, error)
            keep_step(context, failure, self.load_initial)
            if failure.exit_code in (1, 2):
                raise
            return Outcome(context.run, failure, state=context.state)
        finally:
            context.close()

    def run_stages(self, checkpoint: Values | None) -> Outcome:
        """Begin, train and close the run, unless a signal interrupts it."""
        context = self.context
        summary = None
        try:
            begin(context)
            if checkpoint is not None:
                self.recorder.saver.restore(checkpoint)
            elif context.config.init_from is not None:  # a checkpoint would have replaced these weights
                context.screen.line(self.load_initial(context, context.state.model))
            context.signals.hold()
            self.train()
            if not context.signals.stop():
                context.stage = "closing"
                summary = close_run(context)
        except Interrupted as interrupted:
            context.signals.number = interrupted.number
        return self.interrupted() if summary is None else self.finished(summary)

    def train(self) -> None:
        """Iterate over the events of `fit` until training is done or a stop is requested."""
        context = self.context
        plan, profiled = context.plan, None
        if context.config.trainer.profile:
            steps = context.batches_to_do() - context.batches_done()
            profiled = ProfiledStep(plan.step, context.run, context.state.device.type, steps)
            plan = replace(plan, step=profiled)
        anomaly = torch.autograd.set_detect_anomaly(True) if context.config.trainer.detect_anomaly else nullcontext()
        context.stage = "training"
        try:
            with anomaly, self.recorder as recorder:
                for event in fit(context.state, context.batches, plan):
                    recorder.record(event)
                    if isinstance(event, EpochRecord) and self.on_epoch is not None:
                        context.pruned = self.on_epoch(event.row)
                    if context.signals.stop() or context.pruned:
                        break
        finally:
            if profiled is not None:
                profiled.write()
                context.screen.line(f"  {profiled.message()}")

    def finished(self, summary: Values) -> Outcome:
        """Mark the run as finished or pruned in status.json."""
        context = self.context
        state: State = "pruned" if context.pruned else "finished"
        self.recorder.logger.end(state)
        context.run.write_status(state=state, ended=now(), exit_code=0, seconds=context.seconds())
        return Outcome(context.run, summary=summary, state=context.state)

    def interrupted(self) -> Outcome:
        """Store and print that a signal ended the run, and how to resume it."""
        context, run, state = self.context, self.context.run, self.context.state
        number = signal.Signals(context.signals.number or signal.SIGINT)
        self.recorder.logger.end("interrupted")
        failure = Failure("signal", f"stopped by {number.name}", exit_code=EXIT_CODES[number])
        if run.put_back():
            words = f"Stopped by {number.name} before the first checkpoint: the run that was here is back."
            context.screen.line(words, style="yellow", always=True)
            return Outcome(run, failure)
        run.write_status(state="interrupted", ended=now(), **failure.to_values())
        place = f"in epoch {state.epoch + 1}" if state.epoch < context.plan.epochs else "at the end"
        words = f"Stopped by {number.name} {place}, after step {state.step}."
        context.screen.line(words, style="yellow", always=True)
        context.screen.line(f"Go on with:  {words_for('resume', run.path)}", always=True)
        return Outcome(run, failure, state=state)

"""The crash capsule: batch, random state and weights before the step that failed, for `dlrun replay`.

It costs nothing while training succeeds. After a failure, training is repeated from the newest checkpoint or from the
beginning, with the plain step, and losses and gradients are checked until a step fails.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dlrun.data.batches import Batch
from dlrun.engine.loop import fit
from dlrun.engine.state import StepResult, TrainState
from dlrun.engine.step import PlainStep
from dlrun.errors import COMPONENT_RAISES, DlrunError, RunError
from dlrun.generators import rng_state
from dlrun.objectives.optimizers import needs_closure
from dlrun.plain import Values
from dlrun.run.build import build
from dlrun.run.context import Components, LoadInitial, RunContext
from dlrun.run.screen import words_for
from dlrun.store import checkpoint as files
from dlrun.store.failure import Failure

CAPSULE = "crash.pt"
REPEATABLE = ("diverged", "component", "bug")  # the kinds of failure that happen again when a step is repeated
LIMIT = 20_000  # the largest number of steps that are repeated


class SearchEnded(Exception):
    """Raised by `WatchedStep` with the capsule of the step that failed, or with the reason why there is none."""

    def __init__(self, capsule: Values) -> None:
        self.capsule = capsule
        super().__init__(capsule["reason"])


class WatchedStep(PlainStep):
    """The plain step, with checks of loss and gradients before the weights are updated."""

    name = "watched"
    steps = 0

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """Train on one batch. Raises `SearchEnded` with the capsule if the step fails."""
        self.steps += 1
        before = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        random = rng_state(state.device)
        if self.steps > LIMIT:
            raise SearchEnded({"reason": f"not found within {LIMIT} steps"})
        try:
            if needs_closure(state.optimizer):
                state.optimizer.zero_grad(set_to_none=True)
            loss, output = super().__call__(state, batch, scale, update=False)
            reason = what_is_not_finite(state, loss)
        except DlrunError:
            raise
        except Exception as error:  # an exception in a user's component is what is searched for
            reason = f"{type(error).__name__}: {error}"
        if not reason and update:
            self.update(state)
            reason = f"the step leaves {lost[0]} not finite" if (lost := state.not_finite()) else ""
        if reason:
            tensors = {"inputs": list(batch.inputs), "target": batch.target, "weight": batch.weight}
            facts = {"reason": reason, "step": state.step + 1, "epoch": state.epoch + 1}
            raise SearchEnded(facts | tensors | {"model": before, "rng": random, "scale": scale})
        return loss, output


def what_is_not_finite(state: TrainState, loss: Tensor) -> str:
    """Which loss or gradient is not finite after a backward pass, or an empty string."""
    if not bool(torch.isfinite(loss)):
        return f"the loss is {float(loss)}"
    if state.scaler is not None:  # GradScaler skips steps whose gradients overflow
        return ""
    for name, parameter in state.model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of {name} is not finite"
    return ""


def keep_step(context: RunContext, failure: Failure, load_initial: LoadInitial) -> None:
    """Find the step that failed, and save its capsule as RUN/crash.pt.

    Nothing is done for failures outside of training, and for those that repeating the steps cannot reproduce.
    """
    if context.stage != "training" or failure.kind not in REPEATABLE or context.signals.stop():
        return
    context.screen.line("Looking for the step that went wrong (Ctrl-C ends the search) ...", style="dim")
    path = capture(context, load_initial)
    if path is not None:
        words = words_for("replay", context.run.path)
        context.screen.line(f"The step is kept in {path.name}: `{words}` runs it again and names the layer.")


def capture(context: RunContext, load_initial: LoadInitial) -> Path | None:
    """Save the capsule and return its path. None if the step did not fail again, or a signal ended the search."""
    components = None
    try:
        components = build(context.config, context.components.auto.get("device.threads"))
        search(context, components, load_initial)
    except SearchEnded as ended:
        if "model" in ended.capsule:
            path = context.run.file(CAPSULE)
            files.write_checkpoint(path, ended.capsule)
            return path
    except COMPONENT_RAISES:  # the failure itself has been reported already
        return None
    finally:
        if components is not None:
            components.close()
    return None


def search(context: RunContext, components: Components, load_initial: LoadInitial) -> None:
    """Repeat the run from its newest checkpoint or from the beginning. Raises `SearchEnded`."""
    state, config = components.state, context.config
    try:
        values, _, _ = files.newest_checkpoint(context.run, str(state.device))
        state.load_state_dict(values)
    except RunError:  # there is no checkpoint yet
        if config.init_from is not None:
            load_initial(context, state.model)
    step = WatchedStep(
        clip_norm=config.trainer.clip_norm, precision=config.device.precision, device_type=state.device.type
    )
    for _ in fit(state, components.batches, replace(context.plan, step=step)):
        if context.signals.stop():
            return

"""The crash capsule: the batch, the random state and the weights before a step that went wrong.

A healthy run pays nothing for it. After a failure we go back to the last good state (the newest checkpoint, or the
beginning), and repeat the plain step, looking at every loss and gradient, until the step that goes wrong.
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
from dlrun.errors import DlrunError, RunError
from dlrun.generators import rng_state
from dlrun.objectives.optimizers import needs_closure
from dlrun.plain import Values
from dlrun.run.build import build
from dlrun.run.context import Components, LoadInitial, RunContext
from dlrun.run.screen import words_for
from dlrun.store import checkpoint as files
from dlrun.store.failure import Failure

NAME = "crash.pt"
REPEATABLE = ("diverged", "component", "bug")  # the failures that a step makes, and makes again
LIMIT = 20_000  # steps that are repeated at most


class Found(Exception):
    """The step that goes wrong."""

    def __init__(self, capsule: Values) -> None:
        self.capsule = capsule
        super().__init__(capsule["reason"])


class WatchedStep(PlainStep):
    """The plain step, looking at loss and gradients before the weights change."""

    name = "watched"

    steps = 0  # done

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch; raises `Found` with the capsule when it goes wrong."""
        self.steps += 1
        before = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        random = rng_state(state.device)
        if self.steps > LIMIT:
            raise Found({"reason": f"not found within {LIMIT} steps"})
        try:
            if needs_closure(state.optimizer):
                state.optimizer.zero_grad(set_to_none=True)
            loss, output = super().__call__(state, batch, scale, update=False)
            reason = wrong(state, loss)
        except DlrunError:
            raise
        except Exception as error:  # the user's component raised: that is what we look for
            reason = f"{type(error).__name__}: {error}"
        if not reason and update:
            self.update(state)
            reason = f"the step leaves {lost[0]} not finite" if (lost := state.not_finite()) else ""
        if reason:
            tensors = {"inputs": list(batch.inputs), "target": batch.target}
            facts = {"reason": reason, "step": state.step + 1, "epoch": state.epoch + 1}
            raise Found(facts | tensors | {"model": before, "rng": random, "scale": scale})
        return loss, output


def wrong(state: TrainState, loss: Tensor) -> str:
    """What is not finite after a backward pass, or an empty string."""
    if not bool(torch.isfinite(loss)):
        return f"the loss is {float(loss)}"
    if state.scaler is not None:  # overflowing gradients are its daily work
        return ""
    for name, parameter in state.model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of {name} is not finite"
    return ""


def keep_step(context: RunContext, failure: Failure, load_initial: LoadInitial) -> None:
    """Find the step that went wrong, and save what it needs as RUN/crash.pt.

    Not for failures that no step has made, and not where it would fail in the same way as the search.
    """
    if context.stage != "training" or failure.kind not in REPEATABLE or context.signals.stop():
        return
    context.screen.line("Looking for the step that went wrong (Ctrl-C ends the search) ...", style="dim")
    path = capture(context, load_initial)
    if path is not None:
        words = words_for("replay", context.run.path)
        context.screen.line(f"The step is kept in {path.name}: `{words}` runs it again and names the layer.")


def capture(context: RunContext, load_initial: LoadInitial) -> Path | None:
    """Save the step as RUN/crash.pt; returns its path.

    None if it did not happen again, or a signal ended the search.
    """
    components = None
    try:
        components = build(context.config)
        search(context, components, load_initial)
    except Found as found:
        if "model" in found.capsule:
            path = context.run.file(NAME)
            files.write(path, found.capsule)
            return path
    except (Exception, SystemExit):  # whatever it is, the failure that we look for has been told
        return None
    finally:
        if components is not None:
            components.close()
    return None


def search(context: RunContext, components: Components, load_initial: LoadInitial) -> None:
    """Repeat the run from its last good state. Raises `Found`."""
    state, config = components.state, context.config
    try:
        values, _, _ = files.newest(context.run, str(state.device))
        state.load_state_dict(values)
    except RunError:  # no checkpoint yet: from the beginning
        if config.init_from is not None:
            load_initial(context, state.model)
    step = WatchedStep(
        clip_norm=config.trainer.clip_norm, precision=config.device.precision, device_type=state.device.type
    )
    for _ in fit(state, components.batches, replace(context.plan, step=step)):
        if context.signals.stop():
            return

"""The crash capsule: the batch, the random state and the weights before a step that went wrong.

A healthy run pays nothing for it. After a failure we go back to the last good state (the newest checkpoint, or the
beginning), and repeat the plain step, looking at every loss and gradient, until the step that goes wrong.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrun.engine.state import rng_state
from dlrun.engine.step import PlainStep
from dlrun.errors import DlrunError, RunError
from dlrun.objectives.optimizers import needs_closure

NAME = "crash.pt"
LIMIT = 20_000  # steps that are repeated at most


class Found(Exception):
    """The step that goes wrong."""

    def __init__(self, capsule: dict[str, Any]) -> None:
        self.capsule = capsule
        super().__init__(capsule["reason"])


class WatchedStep(PlainStep):
    """The plain step, looking at loss and gradients before the weights change."""

    name = "watched"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps = 0

    def __call__(self, state: Any, batch: Any, scale: float = 1.0, update: bool = True) -> tuple[Tensor, Tensor]:
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
        if reason:
            tensors = {"inputs": list(batch.inputs), "target": batch.target}
            facts = {"format": 1, "reason": reason, "step": state.step + 1, "epoch": state.epoch + 1}
            raise Found(facts | tensors | {"model": before, "rng": random, "scale": scale})
        if update:
            self.update(state)
        return loss, output


def wrong(state: Any, loss: Tensor) -> str:
    """What is not finite after a backward pass, or an empty string."""
    if not bool(torch.isfinite(loss)):
        return f"the loss is {float(loss)}"
    if state.scaler is not None:  # overflowing gradients are its daily work
        return ""
    for name, parameter in state.model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of {name} is not finite"
    return ""


def capture(session: Any) -> Path | None:
    """Find the step that went wrong and save it as RUN/crash.pt.

    None if it did not happen again, or a signal ended the search.
    """
    from dlrun.run.build import build
    from dlrun.store import checkpoint as files

    built = None
    try:
        built = build(session.config)
        search(session, built)
    except Found as found:
        if "model" in found.capsule:
            path: Path = session.run.file(NAME)
            files.write(path, found.capsule)
            return path
    except Exception:  # whatever it is, the failure that we look for has been told
        return None
    finally:
        if built is not None:
            built.close()
    return None


def search(session: Any, built: Any) -> None:
    """Repeat the run from its last good state. Raises `Found`."""
    from dlrun.engine.loop import fit
    from dlrun.store import checkpoint as files

    try:
        values, _, _ = files.newest(session.run, str(built.state.device))
        built.state.load_state_dict(values)
    except RunError:  # no checkpoint yet: from the beginning
        if session.config.init_from is not None:
            from dlrun.run.initial import load_initial

            load_initial(session, built.state.model)
    step = WatchedStep(
        clip_norm=session.config.trainer.clip_norm,
        precision=session.config.device.precision,
        device_type=built.state.device.type,
    )
    for _ in fit(built.state, built.batches, replace(session.plan, step=step)):
        if session.signals.stop():
            return

"""Which step a run takes. The plain one is always right; a fast one is chosen where its rule holds."""

from __future__ import annotations

from typing import Any

from dlrun.engine.fast.rules import compiled_step, fast_step
from dlrun.engine.state import Step, TrainState
from dlrun.engine.step import ClosureStep, PlainStep
from dlrun.errors import ConfigError, Problem
from dlrun.objectives.optimizers import needs_closure
from dlrun.spec import BatchSource


def choose_step(
    state: TrainState,
    *,
    clip_norm: float | None,
    precision: str,
    fast: bool,
    compile: bool,
    accumulate: int,
    batches: BatchSource,
) -> tuple[Step, list[str]]:
    """The step for this model, optimizer and device, and the words that name it in the run's header."""
    if needs_closure(state.optimizer):
        refuse_with_closure(precision, accumulate, compile)
        return ClosureStep(clip_norm=clip_norm), ["closure"]
    settings: dict[str, Any] = {"clip_norm": clip_norm, "precision": precision}
    settings |= {"accumulate": accumulate, "batches": batches}
    if compile:
        return compiled_step(state, fast=fast, **settings)
    if fast and state.scaler is None:
        return fast_step(state, **settings)
    return PlainStep(clip_norm=clip_norm, precision=precision, device_type=state.device.type), ["plain"]


def refuse_with_closure(precision: str, accumulate: int, compile: bool) -> None:
    """Such an optimizer (LBFGS, say) evaluates the loss itself, several times a step: it cannot share a step between
    batches, scale gradients or be traced.
    """
    problems = []
    if accumulate > 1:
        problems.append(
            Problem(
                "trainer.accumulate", "an optimizer with a closure cannot accumulate.", "Use trainer.batch_size=full."
            )
        )
    if precision != "fp32":
        problems.append(Problem("device.precision", "an optimizer with a closure runs in fp32 only."))
    if compile:
        problems.append(
            Problem("device.compile", "an optimizer with a closure cannot be compiled.", "Use device.compile=false.")
        )
    if problems:
        raise ConfigError(problems)

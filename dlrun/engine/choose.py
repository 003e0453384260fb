"""Which step a run takes. The plain one is always right; a fast one is chosen where its rule holds."""

from __future__ import annotations

from dlrun.engine.fast.rules import StepOptions, compiled_step, fast_step
from dlrun.engine.state import Step, TrainState
from dlrun.engine.step import ClosureStep, PlainStep
from dlrun.errors import ConfigError, Problem
from dlrun.objectives.optimizers import needs_closure


def choose_step(
    state: TrainState, options: StepOptions, *, fast: bool, compile: bool = False
) -> tuple[Step, list[str]]:
    """Choose the step for this model, optimizer and device, and the words that name it in the run's header."""
    if needs_closure(state.optimizer):
        refuse_with_closure(options, compile)
        return ClosureStep(clip_norm=options.clip_norm), ["closure"]
    weighted = options.batches.weighted
    if compile and weighted:
        message = "a step with row weights is not compiled."
        raise ConfigError(Problem("device.compile", message, "Use device.compile=false."))
    if compile:
        return compiled_step(state, options, fast=fast)
    if fast and state.scaler is None and not weighted:  # no fast step takes row weights
        return fast_step(state, options)
    plain = PlainStep(clip_norm=options.clip_norm, precision=options.precision, device_type=state.device.type)
    return plain, ["plain"]


def refuse_with_closure(options: StepOptions, compile: bool) -> None:
    """Raise `ConfigError` for options that an optimizer with a closure cannot follow.

    Such an optimizer (LBFGS, say) evaluates the loss itself, several times a step: it cannot share a step between
    batches, scale gradients or be traced.
    """
    rules = [
        (options.accumulate > 1, "trainer.accumulate", "cannot accumulate.", "Use trainer.batch_size=full."),
        (options.precision != "fp32", "device.precision", "runs in fp32 only.", ""),
        (compile, "device.compile", "cannot be compiled.", "Use device.compile=false."),
    ]
    problems = [
        Problem(key, f"an optimizer with a closure {what}", hint) for breaks, key, what, hint in rules if breaks
    ]
    if problems:
        raise ConfigError(problems)

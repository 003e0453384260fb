"""The plain step: what one step of training is. Every fast step must give the same numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlrun.engine.state import StepResult, TrainState
from dlrun.objectives.loss import loss_of
from dlrun.objectives.without_dynamo import step_optimizer, zero_grad  # without importing the compiler
from dlrun.spec import Batch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class PlainStep:
    """Forward, loss, backward, clip, update; in full or mixed precision.

    Args:
        clip_norm: the largest norm of all gradients together, or None.
        precision: fp32, or bf16 / fp16 for autocast (https://pytorch.org/docs/stable/amp.html).
        device_type: cpu, cuda or mps.
    """

    name = "plain"

    def __init__(self, *, clip_norm: float | None = None, precision: str = "fp32", device_type: str = "cpu") -> None:
        self.clip_norm = clip_norm
        self.precision = precision
        self.device_type = device_type

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch. Returns its loss (0-d) and the model's output, both detached and still on the device.

        `scale` is the batch's share of an accumulated step; `update` says that this batch ends it.
        """
        with autocast(self.device_type, self.precision):
            output = state.model(*batch.inputs)
            loss = loss_of(state.loss, output, batch)
        scaled = loss if scale == 1.0 else loss * scale
        if state.scaler is not None:
            scaled = state.scaler.scale(scaled)
        scaled.backward()
        if update:
            self.update(state)
        return loss.detach(), output.detach()

    def update(self, state: TrainState) -> None:
        """Clip the accumulated gradients, step the optimizer, and clear them."""
        if state.scaler is not None:
            state.scaler.unscale_(state.optimizer)
        clip(state.optimizer, self.clip_norm)
        if state.scaler is not None:
            state.scaler.step(state.optimizer)
            state.scaler.update()
        else:
            step_optimizer(state.optimizer)
        clear(state)


class ClosureStep:
    """A step for optimizers that evaluate the loss several times (LBFGS) and are handed a closure."""

    name = "closure"

    def __init__(self, *, clip_norm: float | None = None) -> None:
        self.clip_norm = clip_norm

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch, with `torch.optim.Optimizer.step(closure)`; returns the loss and output before the step."""
        first: list[tuple[Tensor, Tensor]] = []

        def closure() -> Tensor:
            clear(state)
            output = state.model(*batch.inputs)
            loss = loss_of(state.loss, output, batch)
            loss.backward()
            clip(state.optimizer, self.clip_norm)
            if not first:
                first.append((loss.detach(), output.detach()))
            return loss

        step_optimizer(state.optimizer, closure)
        clear(state)
        return first[0]


def clip(optimizer: Optimizer, clip_norm: float | None) -> None:
    """Scale the gradients of all that the optimizer updates to a norm, all together, of at most `clip_norm`."""
    if clip_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)


def clear(state: TrainState) -> None:
    """Set all gradients to None (trap T16), also of weights that the optimizer does not update."""
    zero_grad(state.optimizer)
    for p in state.outside:
        p.grad = None


def autocast(device_type: str, precision: str) -> AbstractContextManager[object]:
    """A context of mixed precision for the forward pass; in fp32, one that does nothing."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device_type, dtype=PRECISIONS[precision])

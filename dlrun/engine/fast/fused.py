"""The fast step of eager mode: the plain one, without what surrounds its computation.

What it changes, and what each change was worth on one core (tests/benchmarks shows the sum): the optimizer's
fused kernel called directly (most of the gain for small models, see kernels.py); autograd's engine called
without the checks around it (a tenth of a step of a small perceptron); such a perceptron's backward pass written
out (another tenth, chain.py); another memory format for convolutions (channels_last.py); a faster recurrence
(packed_gru.py). What did not help, and is not here: `torch.compile` of the model alone, several steps a call, and
gradients by `torch.autograd.grad` instead of `.grad`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.engine.fast.chain import Chain, cross_entropy
from dlrun.engine.fast.kernels import FusedUpdate
from dlrun.engine.state import StepResult, TrainState
from dlrun.engine.step import PlainStep, autocast, clip
from dlrun.objectives.without_dynamo import step_optimizer, zero_grad
from dlrun.spec import Batch, Forward
from dlrun.torch_private import backward_engine


class FusedStep(PlainStep):
    """The computation of the plain step, faster: forward, loss, backward, clip, update.

    Args:
        clip_norm: the largest norm of all gradients together, or None.
        precision: fp32 or bf16 (fp16 needs a gradient scaler: the plain step).
        device_type: cpu, cuda or mps.
        update: the fused kernels of the optimizer, or None for its own step.
        forward: what to call instead of the model: the same result, faster. None: the model.
        chain: the model's forward and backward pass written out, for fp32. None: autograd's.
    """

    name = "fused"

    def __init__(
        self,
        *,
        clip_norm: float | None = None,
        precision: str = "fp32",
        device_type: str = "cpu",
        update: FusedUpdate | None = None,
        forward: Forward | None = None,
        chain: Chain | None = None,
    ) -> None:
        super().__init__(clip_norm=clip_norm, precision=precision, device_type=device_type)
        self.fused_update = update
        self.forward = forward
        self.chain = chain
        self.run_backward = backward_engine()
        self.ones: dict[tuple[float, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch. Returns its loss (0-d) and the model's output, both detached and still on the device.

        `scale` is the batch's share of an accumulated step; `update` says that this batch ends it.
        """
        if self.chain is not None:
            loss, output = self.written_out(self.chain, state, batch, scale)
            if update:
                self.update(state)
            return loss, output
        forward = state.model if self.forward is None else self.forward
        if self.precision == "fp32":
            output = forward(*batch.inputs)
            loss = state.loss(output, batch.target)
        else:
            with autocast(self.device_type, self.precision):
                output = forward(*batch.inputs)
                loss = state.loss(output, batch.target)
        self.run_backward(loss, self.gradient(loss, scale))
        if update:
            self.update(state)
        return loss.detach(), output.detach()

    def written_out(self, chain: Chain, state: TrainState, batch: Batch, scale: float) -> StepResult:
        """Compute loss and output of a chain, and add the weights' gradients to `.grad`."""
        output = chain.forward(*batch.inputs)
        if chain.cross_entropy is not None and batch.target.ndim == 1:
            with chain.no_grad:
                seed = self.gradient(output, scale)
                loss, gradient = cross_entropy(output, batch.target, chain.cross_entropy, seed)
            chain.backward(gradient)
            return loss, output
        loss = state.loss(output.requires_grad_(), batch.target)
        self.run_backward(loss, self.gradient(loss, scale))
        chain.backward(output.grad)
        return loss.detach(), output.detach()

    def gradient(self, loss: Tensor, scale: float) -> Tensor:
        """The gradient that backward starts from (0-d): that of loss * scale with respect to the loss."""
        key = (scale, loss.dtype, loss.device)
        if key not in self.ones:
            if len(self.ones) > 100:  # last batches of many sizes
                self.ones.clear()
            self.ones[key] = torch.full((), scale, dtype=loss.dtype, device=loss.device)
        return self.ones[key]

    def update(self, state: TrainState) -> None:
        """Clip the accumulated gradients, step the optimizer, and clear them."""
        clip(state.optimizer, self.clip_norm)
        if self.fused_update is not None:
            self.fused_update()
        else:
            step_optimizer(state.optimizer)
            zero_grad(state.optimizer)
        for p in state.outside:
            p.grad = None

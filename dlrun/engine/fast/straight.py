"""The layers of an `nn.Sequential`, called one after the other without what `nn.Module` does around each call.

A module's call looks for hooks and fetches its parameters by name. For a small perceptron that is a tenth of a
step; for anything larger it is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.torch_private import is_hooked


def straight(model: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """`model(x)` as a plain chain of calls, or None if the model is no `nn.Sequential`, or has hooks.

    Call it again after parameters were replaced (not: changed) by others.
    """
    if not _is_chain(model) or is_hooked(model):
        return None
    calls = [_call(layer) for layer in leaves(model)]

    def forward(x: Tensor) -> Tensor:
        for call in calls:
            x = call(x)
        return x

    return forward


def _is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def leaves(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of an `nn.Sequential` in their order, those of inner ones in their places, without identities."""
    if _is_chain(model):
        for child in model:  # children() would leave out a layer that is used again
            yield from leaves(child)
    elif type(model) is not nn.Identity:
        yield model


def _call(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """A layer's function with its parameters bound, which are changed in place and never replaced."""
    if type(layer) is nn.Linear:
        return partial(F.linear, weight=layer.weight, bias=layer.bias)
    if type(layer) is nn.ReLU and not layer.inplace:
        return torch.relu
    return layer.forward

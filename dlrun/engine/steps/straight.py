"""The layers of an `nn.Sequential`, called one after the other without what `nn.Module` does around each call.

A module's call looks for hooks and fetches its parameters by name. For a small perceptron that is a tenth of a
step; for anything larger it is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def straight(model: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """`model(x)` as a plain chain of calls, or None if the model is no `nn.Sequential`, or has hooks.

    Call it again after parameters were replaced (not: changed) by others.
    """
    if not _is_chain(model) or is_hooked(model):
        return None
    calls = list(_calls(model))

    def forward(x: Tensor) -> Tensor:
        for call in calls:
            x = call(x)
        return x

    return forward


def is_hooked(model: nn.Module) -> bool:
    """Has anybody hooks on a module? A fast call would pass them by."""
    return any(getattr(module, kind, None) for module in model.modules() for kind in HOOKS)


def _is_chain(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _calls(module: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """What each layer does, with the parameters that do not change their place."""
    kind = type(module)
    if _is_chain(module):
        for child in module.children():
            yield from _calls(child)
    elif isinstance(module, nn.Linear) and kind is nn.Linear:
        yield partial(F.linear, weight=module.weight, bias=module.bias)
    elif isinstance(module, nn.ReLU) and kind is nn.ReLU and not module.inplace:
        yield torch.relu
    elif kind is not nn.Identity:
        yield module.forward

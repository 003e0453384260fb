"""What a step must not do if it is recorded once and repeated: as a compiled graph, or as a CUDA graph.

A recording holds operations on tensors. What Python does beside them happens while it is made, and never again: a
hook is not called, a counter stands still, a random draw of Python or numpy is drawn for ever, a buffer that is
replaced (not: changed in place) keeps its first value.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
from torch import Tensor, nn

from dlrun.engine.fast.straight import is_hooked

PLAIN = (bool, int, float, complex, str, type(None))


def refusal(model: nn.Module) -> str:
    """Why the steps of this model cannot be recorded, as far as it shows before one; "" if they can."""
    if is_hooked(model):
        return "a module has hooks, or a call or forward of its own"
    return "a parameter has hooks" if any(has_hooks(p) for p in model.parameters()) else ""


def has_hooks(parameter: Tensor) -> bool:
    """Is somebody called with this weight's gradient?"""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


class SideEffects:
    """What Python holds beside the tensors of a model and a loss, to see if a step changes it, and to put it back."""

    def __init__(self, *owners: Any) -> None:
        modules = [part for owner in owners if isinstance(owner, nn.Module) for part in owner.modules()]
        others = [owner for owner in owners if not isinstance(owner, nn.Module) and hasattr(owner, "__dict__")]
        self.holders = [*modules, *others]
        self.buffers = [(module, dict(module._buffers)) for module in modules]
        self.attributes = [dict(vars(holder)) for holder in self.holders]
        self.seen = self.snapshots()
        self.python, self.numpy = random.getstate(), np.random.get_state()
        self.draws = self.drawn()

    def snapshots(self) -> list[dict[str, Any]]:
        """Of the attributes of each module: counters, flags, lists, generators."""
        return [{name: snapshot(value) for name, value in vars(holder).items()} for holder in self.holders]

    def drawn(self) -> str:
        """The states of Python's and numpy's generators. Torch's is the recording's own concern."""
        name, keys, *rest = np.random.get_state()
        return repr((random.getstate(), name, np.asarray(keys).tolist(), rest))

    def change(self) -> str:
        """What a step changed since, in words; "" if nothing."""
        for module, buffers in self.buffers:
            for key, value in buffers.items():
                if module._buffers.get(key) is not value:
                    return f"the model replaces its buffer {key}: change it in place"
        for holder, before, now in zip(self.holders, self.seen, self.snapshots(), strict=True):
            for name in [*before, *now]:
                if before.get(name) != now.get(name):
                    return f"{type(holder).__name__} changes its attribute {name} in Python"
        return "" if self.drawn() == self.draws else "the model draws random numbers of Python or numpy"

    def restore(self) -> None:
        """Buffers, attributes and generators as they were; not what lies inside a list or dict."""
        for holder, attributes in zip(self.holders, self.attributes, strict=True):
            vars(holder).clear()
            vars(holder).update(attributes)
        for module, buffers in self.buffers:
            module._buffers.update(buffers)
        random.setstate(self.python)
        np.random.set_state(self.numpy)


def snapshot(value: Any, depth: int = 3) -> Any:
    """Numbers, words and generators in lists and dicts, as what can be compared; None for tensors and the like."""
    if isinstance(value, PLAIN):
        return repr(value)  # so that NaN equals itself
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if depth and isinstance(value, dict):
        return {repr(key): snapshot(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, deque)):
        return [snapshot(item, depth - 1) for item in value]
    return None

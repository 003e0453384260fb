"""What a step must not do if it is recorded once and repeated: as a compiled graph, or as a CUDA graph.

A recording holds operations on tensors. What Python does beside them happens while it is made, and never again: a
hook is not called, a counter does not count, Python's and numpy's random draws repeat, and a buffer that is replaced
(not changed in place) keeps its first value.
"""

from __future__ import annotations

import random
from collections import deque

import numpy as np
from torch import Tensor, nn

from dlrun.torch_private import has_hooks, is_hooked

PLAIN = (bool, int, float, complex, str, type(None))


def refusal(model: nn.Module) -> str:
    """The reason, visible before a step, why steps of this model cannot be recorded; "" if there is none."""
    if is_hooked(model):
        return "a module has hooks, or a call or forward of its own"
    return "a parameter has hooks" if any(has_hooks(p) for p in model.parameters()) else ""


class SideEffects:
    """What Python holds beside the tensors of a model and a loss, to see if a step changes it, and to put it back."""

    def __init__(self, *owners: object) -> None:
        modules = [part for owner in owners if isinstance(owner, nn.Module) for part in owner.modules()]
        others = [owner for owner in owners if not isinstance(owner, nn.Module) and hasattr(owner, "__dict__")]
        self.holders = [*modules, *others]
        self.buffers = [(module, buffers(module)) for module in modules]
        self.attributes = [dict(vars(holder)) for holder in self.holders]
        self.seen = self.snapshots()
        self.python, self.numpy = random.getstate(), np.random.get_state()
        self.draws = self.drawn()

    def snapshots(self) -> list[dict[str, object]]:
        """Comparable copies of the attributes of each module: counters, flags, lists, generators."""
        return [{name: snapshot(value) for name, value in vars(holder).items()} for holder in self.holders]

    def drawn(self) -> str:
        """The states of Python's and numpy's generators as text. The recording itself takes care of torch's."""
        name, keys, *rest = np.random.get_state()
        return repr((random.getstate(), name, np.asarray(keys).tolist(), rest))

    def change(self) -> str:
        """What a step has changed since, as a clause of a sentence; "" if nothing."""
        for module, before in self.buffers:
            now = buffers(module)
            for key in [*before, *now]:
                if before.get(key) is not now.get(key):
                    return f"the model replaces its buffer {key}: change it in place"
        for holder, old, new in zip(self.holders, self.seen, self.snapshots(), strict=True):
            for name in [*old, *new]:
                if old.get(name) != new.get(name):
                    return f"{type(holder).__name__} changes its attribute {name} in Python"
        return "" if self.drawn() == self.draws else "the model draws random numbers of Python or numpy"

    def restore(self) -> None:
        """Put back buffers, attributes and generators, but not the contents of lists and dicts."""
        for holder, attributes in zip(self.holders, self.attributes, strict=True):
            vars(holder).clear()
            vars(holder).update(attributes)
        for module, before in self.buffers:
            for key in buffers(module):
                setattr(module, key, before.get(key))
        random.setstate(self.python)
        np.random.set_state(self.numpy)


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """The module's own buffers by name, without those that are None."""
    return dict(module.named_buffers(recurse=False, remove_duplicate=False))


def snapshot(value: object, depth: int = 3) -> object:
    """A copy of a value that can be compared: numbers, text and generators, also in lists and dicts; else None."""
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

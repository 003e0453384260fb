"""What a step must not do if it is recorded once and repeated: as a compiled graph, or as a CUDA graph.

A recording holds operations on tensors. What Python does beside them happens while it is made, and never again: a
hook is not called, a counter stands still, a random draw of Python or numpy is drawn for ever, a buffer that is
replaced (not: changed in place) keeps its first value.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from torch import Tensor, nn

from dlrun.engine.steps.straight import is_hooked

PLAIN = (bool, int, float, complex, str, type(None))


def refusal(model: nn.Module) -> str:
    """Why the steps of this model cannot be recorded, as far as it shows before one; "" if they can."""
    if is_hooked(model):
        return "a module has hooks, or a call or forward of its own"
    return "a parameter has hooks" if any(has_hooks(p) for p in model.parameters()) else ""


def has_hooks(parameter: Tensor) -> bool:
    """Is somebody called with this weight's gradient?"""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


class Witness:
    """What Python holds beside the tensors of a model, to see if a step changes it, and to put buffers back."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.buffers = [(module, dict(module._buffers)) for module in model.modules()]
        self.attributes = self.plain_attributes()
        self.draws = self.random_states()

    def plain_attributes(self) -> dict[str, Any]:
        """Numbers and words on the modules, by name: counters, flags."""
        return {
            f"{name}.{key}".lstrip("."): value
            for name, module in self.model.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, PLAIN)
        }

    def random_states(self) -> list[Any]:
        """Of Python's and numpy's generators. Torch's is the recording's own concern."""
        name, keys, *rest = np.random.get_state()
        return [random.getstate(), name, np.asarray(keys).tolist(), *rest]

    def change(self) -> str:
        """What a step changed since, in words; "" if nothing."""
        for module, buffers in self.buffers:
            for key, value in buffers.items():
                if module._buffers.get(key) is not value:
                    return f"the model replaces its buffer {key}: change it in place"
        now = self.plain_attributes()
        for name in [*self.attributes, *now]:
            if name not in now or name not in self.attributes or now[name] != self.attributes[name]:
                return f"the model changes its attribute {name} in Python"
        return (
            "" if self.random_states() == self.draws else "the model draws random numbers of Python or numpy"
        )

    def restore(self) -> None:
        """The buffers as they were."""
        for module, buffers in self.buffers:
            module._buffers.update(buffers)

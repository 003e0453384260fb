"""Using torch's optimizers without importing torch._dynamo, which costs 0.85 s at the start of every run.

torch wraps four methods of `Optimizer` so that the compiler leaves them alone (torch/_compile.py), and
every `step` so that it is profiled and traced (torch/optim/optimizer.py). The wrappers import the compiler
the first time they are called, even in a program that never compiles. What they wrap stands in
`__wrapped__`; it is taken from there only if the wrapper comes from those very files, otherwise the ordinary
method is called. The optimizers are torch's own classes, and their state is what it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dlrun.spec import StateDict
from dlrun.torch_private import compiler_is_loaded, is_ordinary, without_wrapper

Closure = Callable[[], Tensor]


def construct(kind: type[Optimizer], params: Iterable[Any], **kwargs: Any) -> Optimizer:
    """`kind(params, **kwargs)`. The constructor calls `add_param_group`, which has no wrapper meanwhile."""
    if compiler_is_loaded():
        return kind(params, **kwargs)
    ordinary = Optimizer.__dict__["add_param_group"]
    setattr(Optimizer, "add_param_group", without_wrapper(ordinary, "torch/_compile.py"))  # noqa: B010
    try:
        return kind(params, **kwargs)
    finally:
        setattr(Optimizer, "add_param_group", ordinary)  # noqa: B010


def optimizer_state_dict(optimizer: Optimizer) -> StateDict:
    """`optimizer.state_dict()`"""
    return _method(optimizer, "state_dict")(optimizer)


def load_optimizer_state_dict(optimizer: Optimizer, state: StateDict) -> None:
    """`optimizer.load_state_dict(state)`"""
    _method(optimizer, "load_state_dict")(optimizer, state)


def zero_grad(optimizer: Optimizer) -> None:
    """`optimizer.zero_grad()`: gradients become None."""
    _method(optimizer, "zero_grad")(optimizer)


def step_optimizer(optimizer: Optimizer, closure: Closure | None = None) -> Any:
    """`optimizer.step(closure)`, without torch's wrapper for profiling and hooks where there are no hooks."""
    kind: Any = type(optimizer)
    bare = _bare_step(kind)
    if bare is None or not is_ordinary(optimizer) or optimizer.defaults.get("differentiable"):
        return optimizer.step() if closure is None else optimizer.step(closure)  # type: ignore[arg-type]
    with torch.no_grad():
        return bare(optimizer, closure)


def _method(optimizer: Optimizer, name: str) -> Callable[..., Any]:
    return without_wrapper(getattr(type(optimizer), name), "torch/_compile.py")


@cache
def _bare_step(kind: type[Optimizer]) -> Callable[..., Any] | None:
    """The step of a class of torch.optim as it is written there, or None. Others may rely on the wrappers."""
    if not kind.__module__.startswith("torch.optim"):
        return None
    bare = without_wrapper(kind.step, "torch/optim/optimizer.py")
    return None if bare is kind.step else bare

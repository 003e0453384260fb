"""Using torch's optimizers without importing torch._dynamo, which costs 0.85 s at the start of every run.

torch wraps four methods of `Optimizer` so that the compiler leaves them alone (torch/_compile.py), and
every `step` so that it is profiled and traced (torch/optim/optimizer.py). The wrappers import the compiler
the first time they are called, even in a program that never compiles. What they wrap stands in
`__wrapped__`; it is taken from there only if the wrapper comes from those very files, otherwise the ordinary
method is called. The optimizers are torch's own classes, and their state is what it would be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], Tensor]
STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
ALL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")


def construct(kind: type[Optimizer], params: Iterable[Any], **kwargs: Any) -> Optimizer:
    """`kind(params, **kwargs)`. The constructor calls `add_param_group`, which is bare for that moment."""
    if "torch._dynamo" in sys.modules:
        return kind(params, **kwargs)
    ordinary = Optimizer.__dict__["add_param_group"]
    setattr(Optimizer, "add_param_group", _bare(ordinary, "torch/_compile.py"))  # noqa: B010
    try:
        return kind(params, **kwargs)
    finally:
        setattr(Optimizer, "add_param_group", ordinary)  # noqa: B010


def optimizer_state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """`optimizer.state_dict()`"""
    return _method(optimizer, "state_dict")(optimizer)


def load_optimizer_state_dict(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict(state)`"""
    _method(optimizer, "load_state_dict")(optimizer, state)


def zero_grad(optimizer: Optimizer) -> None:
    """`optimizer.zero_grad()`: gradients become None."""
    _method(optimizer, "zero_grad")(optimizer)


def step_optimizer(optimizer: Optimizer, closure: Closure | None = None) -> Any:
    """`optimizer.step(closure)`, past the profiling and the hooks if there are none."""
    kind: Any = type(optimizer)
    bare = _bare_step(kind)
    if bare is None or not is_ordinary(optimizer) or optimizer.defaults.get("differentiable"):
        return optimizer.step() if closure is None else optimizer.step(closure)  # type: ignore[arg-type]
    with torch.no_grad():
        return bare(optimizer, closure)


def _bare(method: Callable[..., Any], *files: str) -> Callable[..., Any]:
    """What a wrapper written in one of these files of torch wraps; the method itself if that is not so."""
    while hasattr(method, "__wrapped__") and _file(method).endswith(files):
        method = method.__wrapped__
    return method


def _file(method: Callable[..., Any]) -> str:
    code = getattr(method, "__code__", None)
    return "" if code is None else code.co_filename.replace("\\", "/")


def _method(optimizer: Optimizer, name: str) -> Callable[..., Any]:
    return _bare(getattr(type(optimizer), name), "torch/_compile.py")


@cache
def _bare_step(kind: Any) -> Callable[..., Any] | None:
    """The step of a class of torch.optim as it is written there, or None. Others may rely on the wrappers."""
    if not kind.__module__.startswith("torch.optim"):
        return None
    bare = _bare(kind.step, "torch/optim/optimizer.py")
    return None if bare is kind.step else bare


def is_ordinary(optimizer: Optimizer) -> bool:
    """Is a step of this optimizer what its class says: no hooks on its steps or on all, no other `step` set on it?

    A scheduler of torch sets one that counts and then calls the class's.
    """
    own, everybodys = optimizer.__dict__, sys.modules[Optimizer.__module__].__dict__
    if own.get(STEP_HOOKS[0], True) or own.get(STEP_HOOKS[1], True):
        return False
    if everybodys.get(ALL_HOOKS[0], True) or everybodys.get(ALL_HOOKS[1], True):
        return False
    step = own.get("step")
    if step is None:
        return True
    inner = getattr(step, "__wrapped__", None) if hasattr(step, "_wrapped_by_lr_sched") else step
    return getattr(inner, "__func__", inner) is type(optimizer).step

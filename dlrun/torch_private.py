"""Every private name of torch that dlrun uses, each behind a guard: where one is gone, speed is lost and no result.

What a function does without its name stands in its docstring. `tests/engine/test_torch_private.py` says what is lost
under a version of torch that has changed one; `tests/house/test_private_names.py` finds them anywhere else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.optim import Optimizer

FusedKernel: TypeAlias = Callable[..., None]
Graph: TypeAlias = Callable[..., Any]  # a traced or compiled step: tensors in, a tuple of tensors out

MISSING: Any = None
STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
ALL_STEP_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
# Random numbers are eager torch's; what a graph is called with is checked by its caller.
INDUCTOR_OPTIONS = {"fallback_random": True, "size_asserts": False}


def compiler_is_loaded() -> bool:
    """Is torch's compiler imported already? Without the name: no, and calls take the detour that spares it."""
    return "torch._dynamo" in sys.modules


def load_compiler() -> None:
    """Import torch's compiler, so that processes forked from this one have it."""
    with suppress(ImportError):
        pass


def without_wrapper(method: Callable[..., Any], *files: str) -> Callable[..., Any]:
    """What a wrapper that is written in one of these files of torch wraps, or the method itself if there is none."""
    while hasattr(method, "__wrapped__") and _file(method).endswith(files):
        method = method.__wrapped__
    return method


def _file(method: Callable[..., Any]) -> str:
    code = getattr(method, "__code__", None)
    return "" if code is None else code.co_filename.replace("\\", "/")


def is_ordinary(optimizer: Optimizer) -> bool:
    """Is a step of this optimizer what its class says: no hooks on its steps or on all, no other `step` set on it?

    A scheduler of torch sets one that counts and then calls the class's. Without the names: no.
    """
    own, everybodys = optimizer.__dict__, sys.modules[Optimizer.__module__].__dict__
    if own.get(STEP_HOOKS[0], True) or own.get(STEP_HOOKS[1], True):
        return False
    if everybodys.get(ALL_STEP_HOOKS[0], True) or everybodys.get(ALL_STEP_HOOKS[1], True):
        return False
    step = own.get("step")
    if step is None:
        return True
    inner = getattr(step, "__wrapped__", None) if hasattr(step, "_wrapped_by_lr_sched") else step
    return getattr(inner, "__func__", inner) is type(optimizer).step


def expect_no_step(optimizer: Optimizer) -> None:
    """Keep torch's schedulers from warning that `optimizer.step` was not called: a fast step calls it seldom.

    Without the name, the warning is shown once.
    """
    optimizer._opt_called = True  # type: ignore[attr-defined]


def is_hooked(model: nn.Module) -> bool:
    """Has a module hooks, or have all, or one a call or `forward` of its own? A fast call would pass them by.

    Without the names: yes.
    """
    if any(getattr(nn.modules.module, f"_global{kind}", True) for kind in MODULE_HOOKS):
        return True
    modules = list(model.modules())
    if any("forward" in vars(m) or type(m).__call__ is not nn.Module.__call__ for m in modules):
        return True
    return any(getattr(module, kind, True) for module in modules for kind in MODULE_HOOKS)


def has_hooks(parameter: Tensor) -> bool:
    """Is anything called with this weight's gradient? Without the names: yes."""
    return any(getattr(parameter, kind, True) for kind in PARAMETER_HOOKS)


def base(tensor: Tensor) -> Tensor | None:
    """The tensor that this one is a view of. Without the name: none, as if it were no view."""
    found: Tensor | None = getattr(tensor, "_base", None)
    return found


def version(tensor: Tensor) -> float:
    """A count of the changes to this tensor. Without the name: NaN, which no other version equals."""
    return getattr(tensor, "_version", math.nan)


def fused_kernel(name: str) -> FusedKernel | None:
    """The fused kernel of an optimizer: sgd, adagrad, adam or adamw. Without the name: None."""
    return getattr(torch, f"_fused_{name}_", None)


def knows_log_softmax() -> bool:
    """Can log-softmax and its gradient be called as autograd calls them, by the two names below?"""
    return hasattr(torch, "_log_softmax") and hasattr(torch, "_log_softmax_backward_data")


log_softmax: Callable[[Tensor, int, bool], Tensor] = getattr(torch, "_log_softmax", MISSING)
log_softmax_backward: Callable[[Tensor, Tensor, int, torch.dtype], Tensor] = getattr(
    torch, "_log_softmax_backward_data", MISSING
)


def backward_engine() -> Callable[[Tensor, Tensor], None]:
    """`backward(loss, gradient)`: autograd's engine, as `torch.autograd.backward` calls it after its checks.

    It is tried once. Without the name, or if it gives anything else: the public function.
    """
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)

    def backward(loss: Tensor, gradient: Tensor) -> None:
        arguments = ((loss,), (gradient,), False, False, ())
        engine.run_backward(*arguments, allow_unreachable=True, accumulate_grad=True)  # type: ignore[union-attr]

    try:
        x = torch.ones((), requires_grad=True)
        backward(2 * x, torch.ones(()))
        return backward if x.grad is not None and x.grad.item() == 2 else _public_backward
    except (AttributeError, TypeError, RuntimeError):
        return _public_backward


def _public_backward(loss: Tensor, gradient: Tensor) -> None:
    torch.autograd.backward(loss, gradient)


def tracer(step: Graph, decompositions: dict[Any, Callable[..., Tensor]]) -> Callable[..., GraphModule]:
    """A function that traces `step` under fake tensors into a graph. Without the name: an exception."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(step, decompositions, tracing_mode="fake")


def compile_graph(graph: GraphModule, inputs: list[Tensor], unwrap: bool) -> Graph:
    """TorchInductor's compilation of a traced graph. Without the name: an exception.

    With `unwrap`, without what torch wraps around the kernels, which is a tenth of a small step: the wrappers adjust
    inputs, outputs and version counters for autograd, which this step is no part of. Where the kernels do not take and
    give what the graph does, or are not found, the wrappers are kept.
    """
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    kernels: list[tuple[GraphModule, Any]] = []  # what was compiled, and what came of it

    def inner_compile(module: GraphModule, *words: Any, **options: Any) -> Any:
        kernels.append((module, compile_fx_inner(module, *words, **options)))
        return kernels[-1][1]

    with torch.no_grad():
        compiled: Any = compile_fx(graph, inputs, inner_compile=inner_compile, config_patches=INDUCTOR_OPTIONS)
    wanted = _signature(graph)
    if not unwrap or len(kernels) != 1 or wanted is None or _signature(kernels[0][0]) != wanted:
        return compiled
    call = getattr(kernels[0][1], "current_callable", None)
    return compiled if call is None else lambda *inputs: call(list(inputs))


def _signature(graph: GraphModule) -> list[tuple[torch.Size, torch.dtype, torch.device]] | None:
    """Shapes, types and devices of the inputs and outputs; None if they are not all known tensors."""
    *_, last = graph.graph.nodes
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    found: list[Any] = [getattr(node, "meta", {}).get("val") for node in (*nodes, *last.args[0])]
    if not all(isinstance(tensor, Tensor) for tensor in found):
        return None
    return [(tensor.shape, tensor.dtype, tensor.device) for tensor in found]

"""All private names of torch that dlrun uses. If a version of torch lacks one, training is slower, but the same.

The docstring of each function says what it does without its name. `tests/test_torch_private.py` checks this for
the installed version, and `tests/house/test_private_names.py` finds private names elsewhere.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.optim import Optimizer

FusedKernel: TypeAlias = Callable[..., None]
Graph: TypeAlias = Callable[..., Any]  # a traced or compiled step: tensors in, a tuple of tensors out

WITHOUT: Any = None
STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
ALL_STEP_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PARAMETER_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
# Random numbers are those of eager torch, and the caller checks the inputs of a graph.
INDUCTOR_OPTIONS = {"fallback_random": True, "size_asserts": False}


def compiler_is_loaded() -> bool:
    """Whether torch's compiler is imported. Without the name: no, and calls avoid importing it."""
    return "torch._dynamo" in sys.modules


def load_compiler() -> None:
    """Import torch's compiler, so that processes forked from this one have it."""
    with suppress(ImportError):
        import_module("torch._inductor.compile_fx")


def without_wrapper(method: Callable[..., Any], *files: str) -> Callable[..., Any]:
    """The method that is wrapped by a function of one of these files of torch, or the method itself."""
    while hasattr(method, "__wrapped__") and _file(method).endswith(files):
        method = method.__wrapped__
    return method


def _file(method: Callable[..., Any]) -> str:
    code = getattr(method, "__code__", None)
    return "" if code is None else code.co_filename.replace("\\", "/")


def is_ordinary(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step is that of its class, without hooks and without a `step` of the instance.

    The `step` that torch's schedulers set on an instance, to count the calls, is allowed. Without the names: no.
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
    """Suppress the warning of torch's schedulers that `optimizer.step` was not called, as fast steps do not call it.

    Without the name, the warning is shown once.
    """
    optimizer._opt_called = True  # type: ignore[attr-defined]


def is_hooked(model: nn.Module) -> bool:
    """Whether a fast call would skip hooks on modules, or a `__call__` or `forward` that differs from the class's.

    Without the names: yes.
    """
    if any(getattr(nn.modules.module, f"_global{kind}", True) for kind in MODULE_HOOKS):
        return True
    modules = list(model.modules())
    if any("forward" in vars(m) or type(m).__call__ is not nn.Module.__call__ for m in modules):
        return True
    return any(getattr(module, kind, True) for module in modules for kind in MODULE_HOOKS)


def has_hooks(parameter: Tensor) -> bool:
    """Whether a parameter has hooks on its gradient. Without the names: yes."""
    return any(getattr(parameter, kind, True) for kind in PARAMETER_HOOKS)


def base(tensor: Tensor) -> Tensor | None:
    """The tensor that this one is a view of, or None. Without the name: None."""
    found: Tensor | None = getattr(tensor, "_base", None)
    return found


def version(tensor: Tensor) -> float:
    """The number of in-place changes of a tensor. Without the name: NaN, which is different from any version."""
    return getattr(tensor, "_version", math.nan)


def fused_kernel(name: str) -> FusedKernel | None:
    """The fused kernel of an optimizer: sgd, adagrad, adam or adamw. Without the name: None."""
    return getattr(torch, f"_fused_{name}_", None)


def knows_log_softmax() -> bool:
    """Whether torch has the two private functions below, for log-softmax and its gradient."""
    return hasattr(torch, "_log_softmax") and hasattr(torch, "_log_softmax_backward_data")


log_softmax: Callable[[Tensor, int, bool], Tensor] = getattr(torch, "_log_softmax", WITHOUT)
log_softmax_backward: Callable[[Tensor, Tensor, int, torch.dtype], Tensor] = getattr(
    torch, "_log_softmax_backward_data", WITHOUT
)


def backward_engine() -> Callable[[Tensor, Tensor], None]:
    """A function `backward(loss, gradient)` that calls autograd's engine without the checks of the public function.

    It is tried once. Without the name, or with another result: the public function.
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


def watched(seen: Callable[[str, Tensor, Sequence[Tensor]], None]) -> AbstractContextManager[object]:
    """A context manager in which `seen(name, output, arguments)` is called after each operation of torch (`aten.mm`).

    Without the name: an exception.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watched(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """No: to be skipped by the compiler, it would have to be imported, which takes seconds."""
            return False

        def __torch_dispatch__(
            self,
            func: torch._ops.OpOverload,
            types: object,
            args: tuple[Tensor, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            output = func(*args, **(kwargs or {}))
            seen(str(func.overloadpacket), output, args)
            return output

    return Watched()


def tracer(step: Graph, decompositions: dict[Any, Callable[..., Tensor]]) -> Callable[..., GraphModule]:
    """A function that traces `step` with fake tensors to a graph. Without the name: an exception."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(step, decompositions, tracing_mode="fake")


def compile_graph(graph: GraphModule, inputs: list[Tensor], unwrap: bool) -> Graph:
    """Compile a traced graph with TorchInductor. Without the name: an exception.

    With `unwrap`, torch's wrappers around the kernels are left out, which take a tenth of the time of a small step.
    They adjust inputs, outputs and version counters for autograd, which is not used in this step. The wrappers are kept
    if the kernels have other inputs and outputs than the graph, or are not found.
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
    """The shapes, types and devices of the inputs and outputs; None if not all of them are known tensors."""
    *_, last = graph.graph.nodes
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    found: list[Any] = [getattr(node, "meta", {}).get("val") for node in (*nodes, *last.args[0])]
    if not all(isinstance(tensor, Tensor) for tensor in found):
        return None
    return [(tensor.shape, tensor.dtype, tensor.device) for tensor in found]

"""The private names of torch that dlrun uses are there and do what dlrun takes them for; without them, it is slower.

A failure under a new version of torch is no wrong result: each test says which speed is lost, and the guard that
takes over is tested beside it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from dlrun import torch_private
from dlrun.engine.fast.chain import plain_cross_entropy
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.snapshot import joined_counts
from dlrun.objectives.losses import cross_entropy
from dlrun.objectives.schedule import Schedule

SLOWER = "dlrun gives the same results under this torch, but {}"


def optimizer() -> SGD:
    return SGD([nn.Parameter(torch.ones(2))], lr=0.1)


def test_wrappers_of_optimizer_methods_are_found() -> None:
    for method, file in [
        (torch.optim.Optimizer.zero_grad, "torch/_compile.py"),
        (torch.optim.Optimizer.state_dict, "torch/_compile.py"),
        (torch.optim.Optimizer.load_state_dict, "torch/_compile.py"),
        (torch.optim.Optimizer.add_param_group, "torch/_compile.py"),
        (SGD.step, "torch/optim/optimizer.py"),
    ]:
        bare = torch_private.without_wrapper(method, file)
        assert bare is not method, SLOWER.format(f"imports the compiler for {method.__name__} (0.9 s at every start).")
    assert torch_private.without_wrapper(SGD.step, "elsewhere.py") is SGD.step


def test_an_ordinary_optimizer_is_known_and_hooks_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = optimizer()
    assert torch_private.is_ordinary(plain), SLOWER.format("uses no fused kernel and no compiled step.")
    everybodys = vars(sys.modules["torch.optim.optimizer"])
    for hooks in (*torch_private.STEP_HOOKS, *torch_private.ALL_STEP_HOOKS):
        with monkeypatch.context() as patch:
            patch.delitem(vars(plain) if hooks in vars(plain) else everybodys, hooks)
            assert not torch_private.is_ordinary(plain)
    plain.register_step_post_hook(lambda *_: None)
    assert not torch_private.is_ordinary(plain)


def test_a_scheduler_leaves_its_optimizer_ordinary_and_does_not_warn() -> None:
    watched = optimizer()
    schedule = Schedule(StepLR(watched, 1), "epoch")  # warnings are errors
    schedule.step()
    assert torch_private.is_ordinary(watched), SLOWER.format("uses no fused kernel beside a scheduler.")


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_of_a_module_are_seen(kind: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert not torch_private.is_hooked(model), SLOWER.format("takes no fast forward pass.")
    getattr(model[0], f"register_{kind}_hook")(lambda *_: None)
    assert torch_private.is_hooked(model)


def test_where_the_names_of_hooks_are_gone_a_module_counts_as_hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in torch_private.MODULE_HOOKS:
        model = nn.Sequential(nn.Linear(2, 2))
        delattr(model[0], kind)
        assert torch_private.is_hooked(model)
        with monkeypatch.context() as patch:
            patch.delattr(nn.modules.module, f"_global{kind}")
            assert torch_private.is_hooked(nn.Linear(2, 2))


def test_hooks_of_all_modules_and_of_parameters_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert torch_private.is_hooked(nn.Linear(2, 2))
    handle.remove()
    weight = nn.Parameter(torch.ones(2))
    assert not torch_private.has_hooks(weight), SLOWER.format("writes no chain out and records no graph.")
    weight.register_post_accumulate_grad_hook(lambda _: None)
    assert torch_private.has_hooks(weight)
    other = nn.Parameter(torch.ones(2))
    other.register_hook(lambda gradient: gradient)
    assert torch_private.has_hooks(other)
    monkeypatch.setattr(torch_private, "PARAMETER_HOOKS", ("_no_such_name",))
    assert torch_private.has_hooks(nn.Parameter(torch.ones(2)))


def test_base_and_version_of_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.zeros(3)
    assert torch_private.base(whole[:1]) is whole, SLOWER.format("joins the counts of steps again at every change.")
    before = torch_private.version(whole)
    whole.add_(1)
    assert torch_private.version(whole) > before, SLOWER.format("reads the count of steps back from the GPU.")
    assert torch_private.base(object()) is None  # type: ignore[arg-type]
    assert math.isnan(torch_private.version(object()))  # type: ignore[arg-type]
    entries = [{"step": torch.tensor(4.0)} for _ in range(2)]
    assert joined_counts(entries) is joined_counts(entries)
    monkeypatch.setattr("dlrun.engine.fast.snapshot.base", lambda _: None)
    assert joined_counts(entries).tolist() == [4, 4]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_fused_kernels_are_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch_private.fused_kernel(name) is not None, SLOWER.format(f"updates {name} by torch's own, slower step.")
    monkeypatch.delattr(torch, f"_fused_{name}_")
    assert torch_private.fused_kernel(name) is None


def test_without_its_kernel_an_optimizer_has_no_fused_update(monkeypatch: pytest.MonkeyPatch) -> None:
    adam = Adam([nn.Parameter(torch.ones(2))])
    assert fused_update(adam) is not None
    monkeypatch.delattr(torch, "_fused_adam_")
    assert fused_update(adam) is None


def test_log_softmax_and_its_gradient_are_autograds() -> None:
    assert torch_private.knows_log_softmax(), SLOWER.format("leaves the gradient of cross entropy to autograd.")
    x = torch.randn(4, 3, requires_grad=True)
    logs = torch_private.log_softmax(x.detach(), 1, False)
    expected = F.log_softmax(x, 1)
    gradient = torch.randn(4, 3)
    expected.backward(gradient)
    assert torch.equal(logs, expected)
    assert x.grad is not None
    assert torch.equal(torch_private.log_softmax_backward(gradient, logs, 1, torch.float32), x.grad)


@pytest.mark.parametrize("name", ["_log_softmax", "_log_softmax_backward_data"])
def test_without_log_softmax_cross_entropy_is_left_to_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_cross_entropy(cross_entropy()) == "mean"
    monkeypatch.delattr(torch, name)
    assert plain_cross_entropy(cross_entropy()) is None


def gradient_of(backward: Callable[[torch.Tensor, torch.Tensor], None]) -> float:
    x = torch.tensor(3.0, requires_grad=True)
    backward(x * x, torch.tensor(0.5))
    assert x.grad is not None
    return x.grad.item()


class OtherEngine:
    """An engine with another signature, and one that does nothing."""

    def run_backward(self, tensors: object) -> None: ...


class IdleEngine:
    def run_backward(self, *arguments: object, **options: object) -> None: ...


@pytest.mark.parametrize("engine", [None, OtherEngine(), IdleEngine()])
def test_autograds_engine_or_the_public_function(engine: object, monkeypatch: pytest.MonkeyPatch) -> None:
    private = torch_private.backward_engine()
    assert private.__name__ == "backward", SLOWER.format("calls autograd with its checks (a tenth of a small step).")
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd.Variable, "_execution_engine", engine)
        public = torch_private.backward_engine()
    assert public.__name__ == "_public_backward"
    assert gradient_of(private) == gradient_of(public) == 3.0


@pytest.mark.slow
def test_a_graph_is_compiled_and_its_wrappers_come_off() -> None:
    def step(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, x.sum()

    inputs = [torch.randn(5)]
    graph = torch_private.tracer(step, {})(*inputs)
    wrapped = torch_private.compile_graph(graph, inputs, unwrap=False)
    bare = torch_private.compile_graph(graph, inputs, unwrap=True)
    assert bare.__qualname__.startswith("compile_graph"), SLOWER.format("keeps the wrappers of compiled steps.")
    for call in (wrapped, bare):
        double, total = call(*inputs)
        assert torch.equal(double, inputs[0] * 2)
        assert torch.allclose(total, inputs[0].sum())


def test_the_compiler_is_imported_for_processes_that_are_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    monkeypatch.setattr(torch_private, "import_module", imported.append)  # the real one takes seconds
    torch_private.load_compiler()
    assert imported == ["torch._inductor.compile_fx"]
    assert find_spec("torch._inductor.compile_fx") is not None

"""Every fast step gives the plain step's numbers."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from dlrun.config.registry import OPTIMIZERS
from dlrun.engine.allocator import keep_freed_memory
from dlrun.engine.state import TrainState
from dlrun.engine.steps import choose_step
from dlrun.engine.steps.compiled import CompiledStep
from dlrun.engine.steps.fused import FusedStep
from dlrun.engine.steps.graph import GraphStep
from dlrun.engine.steps.kernels import FusedUpdate, fused_update
from dlrun.engine.steps.layout import channels_last
from dlrun.engine.steps.packed_gru import packed_gru
from dlrun.engine.steps.plain import PlainStep
from dlrun.engine.steps.straight import straight
from dlrun.errors import ConfigError
from dlrun.models.cnn import cnn
from dlrun.models.mlp import mlp
from dlrun.models.recurrent import gru
from dlrun.objectives import optimizers, schedulers
from dlrun.objectives.losses import cross_entropy
from dlrun.spec import DataSpec

TABLE = DataSpec("table", "classification", "tabular", (6,), 3)
IMAGE = DataSpec("image", "classification", "image", (2, 12, 12), 3)
TEXT = DataSpec("text", "classification", "text", (7,), 3, vocabulary=tuple("_abcdefgh"))
NAMES = [name for name in OPTIMIZERS.builtin if name != "lbfgs"]
KERNELS = ("sgd", "adam", "adamw", "adagrad")


class Batch(NamedTuple):
    inputs: tuple[Tensor, ...]
    target: Tensor


class Rows:
    """As much of a source of batches as the choice of a step asks for."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def sizes(self, i: int) -> int:
        return len(self.batches[i].target)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


def batches_of(spec: DataSpec, count: int = 20, rows: int = 8) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    result = []
    for _ in range(count):
        target = torch.randint(0, 3, (rows,), generator=generator)
        if spec.input_kind == "text":
            codes = torch.randint(1, 9, (rows, 7), generator=generator)
            lengths = torch.randint(1, 8, (rows,), generator=generator)
            codes[torch.arange(7) >= lengths.unsqueeze(1)] = 0
            result.append(Batch((codes, lengths), target))
        else:
            result.append(Batch((torch.randn(rows, *spec.input_shape, generator=generator),), target))
    return result


def small_mlp(spec: DataSpec) -> nn.Module:
    return mlp(spec, hidden=[5, 4], activation="tanh", dropout=0.2)


def with_norm(spec: DataSpec) -> nn.Module:
    """A bias before a norm has no gradient but rounding, which Adam would magnify: for SGD only."""
    return mlp(spec, hidden=[5, 4], batch_norm=True)


def small_cnn(spec: DataSpec) -> nn.Module:
    return cnn(spec, channels=[4, 5], head=[4])


def state_of(
    make: Callable[[DataSpec], nn.Module] = small_mlp,
    spec: DataSpec = TABLE,
    optimizer: str = "sgd",
    device: str = "cpu",
    **settings: Any,
) -> TrainState:
    torch.manual_seed(0)
    model = make(spec).to(device)
    made = getattr(optimizers, optimizer)(model.parameters(), **settings)
    state = TrainState(model, cross_entropy(), None, made, spec, torch.device(device))
    state.train_mode()
    return state


def train(step: Any, state: TrainState, batches: list[Batch], accumulate: int = 1) -> Tensor:
    """The losses of some batches, the same random numbers each time."""
    torch.manual_seed(2)
    losses = []
    for i, batch in enumerate(batches):
        loss, output = step(state, batch, 1 / accumulate, (i + 1) % accumulate == 0)
        assert not loss.requires_grad
        assert not output.requires_grad
        losses.append(loss)
    return torch.stack(losses)


def assert_same(a: TrainState, b: TrainState, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Weights, buffers, and the optimizer's state, which has torch's own keys."""
    torch.testing.assert_close(dict(a.model.state_dict()), dict(b.model.state_dict()), rtol=rtol, atol=atol)
    first, second = a.optimizer.state_dict()["state"], b.optimizer.state_dict()["state"]
    assert {i: set(entry) for i, entry in first.items()} == {i: set(entry) for i, entry in second.items()}
    torch.testing.assert_close(first, second, rtol=rtol, atol=atol)


def fused(state: TrainState, **settings: Any) -> FusedStep:
    return FusedStep(update=fused_update(state.optimizer), forward=straight(state.model), **settings)


def compare(step: Any, state: TrainState, plain: TrainState, batches: list[Batch], **settings: Any) -> None:
    """Train `state` with `step` and `plain` with the plain step: the same losses, weights and state."""
    accumulate = settings.pop("accumulate", 1)
    expected = train(PlainStep(**settings), plain, batches, accumulate)
    torch.testing.assert_close(train(step, state, batches, accumulate), expected, rtol=1e-5, atol=1e-6)
    assert_same(state, plain)


# ---- fused kernels


@pytest.mark.parametrize("name", NAMES)
def test_fused_step_equals_plain_for_every_optimizer(name: str) -> None:
    state, plain = state_of(optimizer=name), state_of(optimizer=name)
    step = fused(state)
    compare(step, state, plain, batches_of(TABLE))
    assert (step.fused_update is not None) == (name in KERNELS)
    if step.fused_update is not None:
        assert step.fused_update.lists, "the kernels were never called"


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("adam", {"weight_decay": 0.1}),
    ("adam", {"amsgrad": True, "maximize": True}),
    ("adamw", {"weight_decay": 0.1, "amsgrad": True}),
    ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_every_setting_of_the_kernels(name: str, settings: dict[str, Any]) -> None:
    state, plain = (state_of(optimizer=name, **settings) for _ in range(2))
    compare(fused(state), state, plain, batches_of(TABLE))


def test_batch_norm() -> None:
    state, plain = state_of(with_norm), state_of(with_norm)
    compare(fused(state), state, plain, batches_of(TABLE))


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_clip_and_accumulation(name: str) -> None:
    state, plain = state_of(optimizer=name), state_of(optimizer=name)
    step = fused(state, clip_norm=0.05)
    compare(step, state, plain, batches_of(TABLE), clip_norm=0.05, accumulate=4)


def test_autocast_bf16() -> None:
    state, plain = state_of(optimizer="adam"), state_of(optimizer="adam")
    compare(fused(state, precision="bf16"), state, plain, batches_of(TABLE), precision="bf16")


def two_groups(state: TrainState) -> None:
    params = list(state.model.parameters())
    groups = [{"params": params[:3], "lr": 0.1}, {"params": params[3:], "weight_decay": 0.1}]
    state.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)


def test_groups_with_their_own_settings_and_a_schedule_midway() -> None:
    states = state_of(), state_of()
    for state, step in zip(states, (None, PlainStep()), strict=True):
        two_groups(state)
        step = step or fused(state)
        schedule = schedulers.step(state.optimizer, epochs=3, steps_per_epoch=7, step_size=1, gamma=0.5)
        for begin in (0, 7, 14):
            train(step, state, batches_of(TABLE)[begin : begin + 7])
            schedule.step()
    assert_same(*states)


def test_momentum_that_begins_later() -> None:
    states = state_of(lr=0.1), state_of(lr=0.1)
    for state, step in zip(states, (fused(states[0]), PlainStep()), strict=True):
        train(step, state, batches_of(TABLE, 5))
        state.optimizer.param_groups[0]["momentum"] = 0.9
        train(step, state, batches_of(TABLE, 5))
    assert_same(*states)


def test_weights_that_sometimes_have_no_gradient() -> None:
    states = state_of(optimizer="adam"), state_of(optimizer="adam")
    for state, step in zip(states, (fused(states[0]), PlainStep()), strict=True):
        for needed in (False, True, False):
            state.model.body.linear1.requires_grad_(needed)
            train(step, state, batches_of(TABLE, 4))
    assert_same(*states)


@pytest.mark.parametrize("name", KERNELS)
def test_state_goes_to_plain_torch_and_back(name: str) -> None:
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    kinds |= {"adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad}
    settings = {"momentum": 0.9} if name == "sgd" else {}
    state, plain = (state_of(optimizer=name, lr=0.01, **settings) for _ in range(2))
    train(PlainStep(), plain, batches_of(TABLE))
    train(PlainStep(), plain, batches_of(TABLE))

    step = fused(state)
    train(step, state, batches_of(TABLE))
    own = kinds[name](state.model.parameters(), lr=0.01, **settings)
    own.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
    torch.manual_seed(2)
    for i, batch in enumerate(batches_of(TABLE)):
        if i == 10:  # and back, into the optimizer whose lists are kept
            state.optimizer.load_state_dict(copy.deepcopy(own.state_dict()))
        if i >= 10:
            step(state, batch)
            continue
        cross_entropy()(state.model(*batch.inputs), batch.target).backward()
        own.step()
        own.zero_grad()
    assert_same(state, plain)


@pytest.mark.parametrize("name", KERNELS)
def test_a_resumed_run_is_the_same_to_the_bit(name: str) -> None:
    settings = {"momentum": 0.9} if name == "sgd" else {}
    whole, first, second = (state_of(optimizer=name, **settings) for _ in range(3))
    batches = batches_of(TABLE)
    without_dropout(whole, first, second)
    train(fused(whole), whole, batches)
    train(fused(first), first, batches[:9])
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    train(fused(second), second, batches[9:])
    assert_same(whole, second, rtol=0, atol=0)


def without_dropout(*states: TrainState) -> None:
    for state in states:
        for module in state.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0


def test_moments_too_small_for_their_exponent_become_zero_and_other_numbers_stay() -> None:
    state = state_of(optimizer="adam")
    step = fused(state)
    train(step, state, batches_of(TABLE, 2))
    first = next(iter(state.optimizer.state.values()))
    first["exp_avg"].fill_(1e-39)
    for p in state.model.parameters():
        p.grad = torch.zeros_like(p)
    step.update(state)
    assert torch.equal(first["exp_avg"], torch.zeros_like(first["exp_avg"]))
    assert torch.tensor([1e-39]).mul(0.5).item() != 0


def test_the_counts_of_steps_are_one_tensor_and_still_the_optimizers() -> None:
    states = state_of(optimizer="adam"), state_of(optimizer="adam")
    for state, step in zip(states, (fused(states[0]), PlainStep()), strict=True):
        train(step, state, batches_of(TABLE, 3))
        replaced = next(iter(state.optimizer.state.values()))
        replaced["step"] = torch.tensor(1.0)
        train(step, state, batches_of(TABLE, 3))
    assert_same(*states)
    assert (
        len({entry["step"].untyped_storage().data_ptr() for entry in states[0].optimizer.state.values()}) == 1
    )


def test_without_the_private_kernel_the_optimizers_own_step_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_fused_adam_")
    state, plain = state_of(optimizer="adam"), state_of(optimizer="adam")
    assert fused_update(state.optimizer) is None
    compare(fused(state), state, plain, batches_of(TABLE))


def test_without_the_private_engine_the_public_backward_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    state, plain = state_of(), state_of()
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd.Variable, "_execution_engine", None)
        step = fused(state)
    assert step.run_backward.__name__ == "_public_backward"
    compare(step, state, plain, batches_of(TABLE))


def test_a_subclass_or_a_rate_that_is_a_tensor_has_no_kernel() -> None:
    class Mine(torch.optim.SGD):
        pass

    weights = [nn.Parameter(torch.ones(2))]
    assert fused_update(Mine(weights, lr=0.1)) is None
    assert fused_update(torch.optim.Adam(weights, lr=torch.tensor(0.1), capturable=True)) is None
    assert isinstance(fused_update(torch.optim.SGD(weights, lr=0.1)), FusedUpdate)


def test_no_compiler_is_imported() -> None:
    code = """
import sys, torch
from tests.test_steps import TABLE, batches_of, fused, state_of, train
assert "torch._dynamo" not in sys.modules, "by an import"
for name in ("adam", "rmsprop"):
    state = state_of(optimizer=name)
    train(fused(state, clip_norm=1.0), state, batches_of(TABLE, 3))
assert "torch._dynamo" not in sys.modules, "by a step"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- layers and layouts


def test_channels_last_equals_plain() -> None:
    state, plain = (state_of(small_cnn, IMAGE, momentum=0.9) for _ in range(2))
    step = FusedStep(update=fused_update(state.optimizer), forward=channels_last(state.model))
    compare(step, state, plain, batches_of(IMAGE))
    assert state.model.features.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_state_in_another_memory_format_is_laid_out_anew() -> None:
    state, plain = (state_of(small_cnn, IMAGE, momentum=0.9) for _ in range(2))
    for each in (state, plain):
        train(PlainStep(), each, batches_of(IMAGE, 3))
    step = FusedStep(update=fused_update(state.optimizer), forward=channels_last(state.model))
    compare(step, state, plain, batches_of(IMAGE))


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_accumulated_gradients_in_another_memory_format() -> None:
    """As a checkpoint brings them that was written without the fast path, between two accumulated batches."""
    state, plain = (state_of(small_cnn, IMAGE) for _ in range(2))
    step = FusedStep(update=fused_update(state.optimizer), forward=channels_last(state.model))
    batches = batches_of(IMAGE, 3)
    for each, taken in ((state, step), (plain, PlainStep())):
        taken(each, batches[0], 0.5, False)
        for p in each.model.parameters():
            assert p.grad is not None
            p.grad = p.grad.contiguous()
        taken(each, batches[1], 0.5, True)
        taken(each, batches[2])
    assert_same(state, plain)


@pytest.mark.parametrize(
    "shape",
    [
        {"num_layers": 1},
        {"num_layers": 2},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "bidirectional": True, "dropout": 0.4},
    ],
)
def test_packed_gru_equals_torchs(shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = gru(TEXT, hidden_size=5, embedding=4, **shape)
    fast = packed_gru(model)
    assert fast is not None
    for batch in batches_of(TEXT, 3):
        found, outputs = [], []
        for call in (model, fast):
            torch.manual_seed(3)  # dropout
            model.zero_grad()
            output = call(*batch.inputs)
            output.square().sum().backward()
            outputs.append(output.detach())
            found.append([p.grad for p in model.parameters()])
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_packed_gru_of_frozen_letters_and_of_a_single_step() -> None:
    model = gru(TEXT, hidden_size=5, embedding=4)
    model.embedding.requires_grad_(False)
    fast = packed_gru(model)
    assert fast is not None
    codes, lengths = torch.tensor([[1, 0], [2, 0]]), torch.tensor([1, 1])
    fast(codes, lengths).sum().backward()
    assert model.embedding.weight.grad is None
    torch.testing.assert_close(fast(codes, lengths), model(codes, lengths), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="at least 1"):
        fast(codes, torch.tensor([1, 0]))


def test_packed_gru_leaves_other_models_alone() -> None:
    assert packed_gru(gru(TEXT, embedding=None)) is None
    assert packed_gru(small_mlp(TABLE)) is None
    padded = gru(TEXT)
    padded.embedding = nn.Embedding(9, 32, padding_idx=0)
    assert packed_gru(padded) is None
    hooked = gru(TEXT)
    hooked.rnn.register_forward_hook(lambda *_: None)
    assert packed_gru(hooked) is None
    labels = DataSpec("tags", "labelling", "text", (7,), 3, vocabulary=tuple("_ab"))
    assert packed_gru(gru(labels)) is None


def test_straight_calls_every_layer_and_sees_hooks() -> None:
    model = small_mlp(TABLE).eval()
    x = torch.randn(4, 6)
    chain = straight(model)
    assert chain is not None
    torch.testing.assert_close(chain(x), model(x), rtol=0, atol=0)
    model.head.register_forward_hook(lambda *_: None)
    assert straight(model) is None
    assert straight(small_cnn(IMAGE)) is None


def test_freed_memory_is_kept_where_there_is_glibc() -> None:
    assert keep_freed_memory() == (sys.platform == "linux" and "glibc" in " ".join(platform_libc()))


def platform_libc() -> tuple[str, str]:
    import platform

    return platform.libc_ver()


# ---- the rule


@pytest.mark.parametrize(
    ("make", "spec", "words"),
    [
        (small_mlp, TABLE, ["fused"]),
        (small_cnn, IMAGE, ["fused", "channels_last"]),
        (gru, TEXT, ["fused", "packed_gru"]),
    ],
)
def test_the_rule_is_seen_in_the_words_and_one_key_switches_it_off(
    make: Callable[..., nn.Module], spec: DataSpec, words: list[str]
) -> None:
    options: dict[str, Any] = {"clip_norm": None, "precision": "fp32", "compile": False, "accumulate": 1}
    options["batches"] = Rows(batches_of(spec, 2))
    step, found = choose_step(state_of(make, spec), fast=True, **options)
    assert found == words
    state, plain = state_of(make, spec), state_of(make, spec)
    step, _ = choose_step(state, fast=True, **options)
    compare(step, state, plain, batches_of(spec))
    assert choose_step(state_of(make, spec), fast=False, **options)[1] == ["plain"]
    assert choose_step(state_of(make, spec, "nadam"), fast=True, **options)[1][0] == "lean"


# ---- compiled


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traced graph itself, not compiled: what tracing and binding do, without the compiler's seconds."""
    import torch._inductor

    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, options: graph)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(("name", "settings"), [*SETTINGS[:6], ("sgd", {}), ("rmsprop", {})])
def test_traced_step_equals_plain(name: str, settings: dict[str, Any]) -> None:
    state, plain = (state_of(optimizer=name, **settings) for _ in range(2))
    batches = batches_of(TABLE)
    batches[5] = Batch((batches[5].inputs[0][:3],), batches[5].target[:3])  # as the last of an epoch
    step = CompiledStep(state, fused(state, clip_norm=0.3), batches[0])
    compare(step, state, plain, batches, clip_norm=0.3)
    assert step.whole == (name != "rmsprop")
    assert step.whole == bool(step.bindings)


@pytest.mark.usefixtures("interpreted")
def test_traced_step_takes_up_loaded_state_and_leaves_other_batches_and_formulas_to_the_eager_step() -> None:
    states = state_of(optimizer="adam"), state_of(optimizer="adam")
    batches = batches_of(TABLE)
    short = Batch((batches[0].inputs[0][:3],), batches[0].target[:3])
    calls = []

    class Counted(FusedStep):
        def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            calls.append(arguments)
            return super().__call__(*arguments)

    compiled = CompiledStep(states[0], Counted(update=fused_update(states[0].optimizer)), batches[0])
    counts = []
    for state, step in zip(states, (compiled, PlainStep()), strict=True):
        train(step, state, [*batches, short])
        counts.append(len(calls))
        state.optimizer.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
        train(step, state, batches)
        counts.append(len(calls))
        state.optimizer.param_groups[0]["weight_decay"] = 0.1
        train(step, state, batches)
        counts.append(len(calls))
    assert counts[:3] == [2, 2, 22]  # the first step and the short one; none; all
    assert_same(*states)


@pytest.mark.usefixtures("interpreted")
def test_the_last_batch_of_a_short_epoch_has_a_graph_of_its_own() -> None:
    batches = batches_of(TABLE)
    batches.append(Batch((batches[0].inputs[0][:3],), batches[0].target[:3]))
    options: dict[str, Any] = {
        "clip_norm": None,
        "precision": "fp32",
        "accumulate": 1,
        "batches": Rows(batches),
    }
    state, plain = state_of(optimizer="adam"), state_of(optimizer="adam")
    step, words = choose_step(state, fast=True, compile=True, **options)
    compare(step, state, plain, [*batches, *batches])
    assert words == ["compiled step"]
    assert len(step.bindings) == 2


@pytest.mark.usefixtures("interpreted")
def test_traced_batch_norm_keeps_its_statistics() -> None:
    state, plain = state_of(with_norm), state_of(with_norm)
    step = CompiledStep(state, fused(state), batches_of(TABLE)[0])
    compare(step, state, plain, batches_of(TABLE))
    assert state.model.body.norm1.num_batches_tracked == 20


@pytest.mark.usefixtures("interpreted")
def test_traced_step_with_accumulation_groups_and_a_schedule() -> None:
    for accumulate in (1, 2):
        states = state_of(), state_of()
        for state in states:
            two_groups(state)
        batches = batches_of(TABLE)
        compiled = CompiledStep(states[0], fused(states[0]), batches[0], accumulate=accumulate)
        assert compiled.whole == (accumulate == 1)
        for state, step in zip(states, (compiled, PlainStep()), strict=True):
            train(step, state, batches, accumulate)
            for group in state.optimizer.param_groups:
                group["lr"] *= 0.1
            train(step, state, batches, accumulate)
        assert_same(*states)


@pytest.mark.usefixtures("interpreted")
def test_traced_step_of_images_and_bf16_leaves_frozen_weights() -> None:
    states = state_of(small_cnn, IMAGE, momentum=0.9), state_of(small_cnn, IMAGE, momentum=0.9)
    for state in states:
        state.model.features.requires_grad_(False)
    batches = batches_of(IMAGE)
    step = CompiledStep(states[0], FusedStep(precision="bf16"), batches[0])
    before = states[0].model.features.conv1.weight.clone()
    compare(step, *states, batches, precision="bf16")
    assert torch.equal(states[0].model.features.conv1.weight, before)


def test_what_cannot_be_traced_is_refused_with_advice() -> None:
    state = state_of(gru, TEXT)
    with pytest.raises(ConfigError, match=r"device\.compile: this step cannot be compiled.*compile=false"):
        CompiledStep(state, FusedStep(), batches_of(TEXT)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
@pytest.mark.filterwarnings("ignore")
def test_compiled_step_equals_plain(name: str) -> None:
    state, plain = state_of(optimizer=name), state_of(optimizer=name)
    step = CompiledStep(state, fused(state, clip_norm=0.3), batches_of(TABLE)[0])
    compare(step, state, plain, batches_of(TABLE), clip_norm=0.3)


# ---- CUDA graphs


class Replayed(GraphStep):
    """A graph step on the CPU: `replay` computes again what would have been recorded."""

    def warm_up(self, state: Any, batch: Any) -> tuple[Tensor, Tensor]:
        return self.eager(state, batch)

    def new_graph(self, state: Any) -> Any:
        class Graph:
            def replay(graph) -> None:
                self.loss, self.output = self.record(state)
                for p in state.model.parameters():
                    p.grad = None

        return Graph()


def graph_step(kind: type[GraphStep], state: TrainState, rows: int) -> GraphStep:
    update = fused_update(state.optimizer)
    assert update is not None
    eager = FusedStep(clip_norm=0.3, device_type=state.device.type, update=update)
    return kind(eager, update, rows)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_bookkeeping_of_the_graph(name: str) -> None:
    """Rates are refilled, other settings record again, short batches are eager, loaded state is taken up."""
    settings = {"momentum": 0.5} if name == "sgd" else {}
    states = [state_of(optimizer=name, **settings) for _ in range(2)]
    step = graph_step(Replayed, states[0], rows=8)
    batches = batches_of(TABLE)
    short = Batch((batches[0].inputs[0][:3],), batches[0].target[:3])
    captures = []
    for state, taken in zip(states, (step, PlainStep(clip_norm=0.3)), strict=True):
        group = state.optimizer.param_groups[0]
        train(taken, state, [*batches, short, *batches])
        group["lr"] *= 3
        train(taken, state, batches[:5])
        captures.append(step.captures)
        group["weight_decay"] = 0.1
        train(taken, state, batches[:5])
        captures.append(step.captures)
        state.optimizer.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
        train(taken, state, batches[:5])
        captures.append(step.captures)
        train(taken, state, batches[:4], accumulate=2)
    assert_same(*states)
    assert captures[:3] == [1, 2, 3]


def test_a_step_that_cannot_be_recorded_stays_eager() -> None:
    class Broken(Replayed):
        def new_graph(self, state: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    states = state_of(optimizer="adam"), state_of(optimizer="adam")
    step = graph_step(Broken, states[0], rows=8)
    compare(step, *states, batches_of(TABLE), clip_norm=0.3)
    assert step.graph is None


def on_gpu(batches: list[Batch]) -> list[Batch]:
    return [Batch(tuple(x.cuda() for x in batch.inputs), batch.target.cuda()) for batch in batches]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_graph_step_equals_plain_on_a_gpu(name: str) -> None:
    states = [state_of(small_mlp, TABLE, name, "cuda") for _ in range(2)]
    without_dropout(*states)
    step = graph_step(GraphStep, states[0], rows=8)
    batches = on_gpu(batches_of(TABLE))
    batches[9] = Batch((batches[9].inputs[0][:3],), batches[9].target[:3])
    for state, taken in zip(states, (step, PlainStep(clip_norm=0.3, device_type="cuda")), strict=True):
        train(taken, state, batches)
        state.optimizer.param_groups[0]["lr"] *= 3
        train(taken, state, batches)
    assert step.graph is not None
    assert step.captures == 1
    torch.testing.assert_close(
        dict(states[0].model.state_dict()), dict(states[1].model.state_dict()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.gpu
def test_the_rule_on_a_gpu() -> None:
    options: dict[str, Any] = {"clip_norm": None, "precision": "fp32", "compile": False, "accumulate": 1}
    options["batches"] = Rows(on_gpu(batches_of(IMAGE, 2)))
    state = state_of(small_cnn, IMAGE, "adam", "cuda")
    step, words = choose_step(state, fast=True, **options)
    assert words == ["cuda_graph", "channels_last"]
    train(step, state, on_gpu(batches_of(IMAGE)))
    assert step.graph is not None


# ---- many small jobs as one stacked model


def test_two_states_stacked_step_once_under_vmap() -> None:
    """Each job has its own weights, rate and momentum; one vmapped step finds what each finds alone."""
    states = [state_of(lambda spec: mlp(spec, hidden=[5]), lr=rate, momentum=0.9) for rate in (0.1, 0.3)]
    with torch.no_grad():
        for p in states[1].model.parameters():
            p.mul_(1.5)
    for state in states:
        fused(state)(state, batches_of(TABLE)[0])  # now there is momentum
    models = [state.model for state in states]
    weights, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    names = list(weights)
    momenta = {
        name: torch.stack([state.optimizer.state[p]["momentum_buffer"] for state, p in both])
        for name, both in zip(
            names, zip(*([(s, p) for p in s.model.parameters()] for s in states), strict=True), strict=True
        )
    }
    rates = torch.tensor([state.optimizer.param_groups[0]["lr"] for state in states])
    batch = batches_of(TABLE)[1]

    def step(params: Any, momentum: Any, rate: Tensor) -> tuple[Any, Tensor]:
        def loss_of(params: Any) -> Tensor:
            output = torch.func.functional_call(skeleton, (params, buffers), batch.inputs)
            return cross_entropy()(output, batch.target)

        gradients, loss = torch.func.grad_and_value(loss_of)(params)
        return {n: params[n] - rate * (0.9 * momentum[n] + gradients[n]) for n in params}, loss

    after, losses = torch.vmap(step)(weights, momenta, rates)
    for i, state in enumerate(states):
        loss, _ = fused(state)(state, batch)
        torch.testing.assert_close(losses[i], loss, rtol=1e-5, atol=1e-6)
        for name, p in state.model.named_parameters():
            torch.testing.assert_close(after[name][i], p.detach(), rtol=1e-5, atol=1e-6)

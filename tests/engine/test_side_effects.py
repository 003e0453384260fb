"""A fast step sees what a user's model, optimizer or data do beside computing: hooks, noise, changes in place."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.data.base import Split
from dlrun.data.batches import ResidentBatches
from dlrun.engine.choose import choose_step
from dlrun.engine.evaluation import eval_mode, evaluate
from dlrun.engine.fast.chain import chain
from dlrun.engine.fast.compiled import CompiledStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.packed_gru import pack, packed_gru
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.state import TrainState
from dlrun.engine.step import ClosureStep, PlainStep
from dlrun.errors import ConfigError
from dlrun.models.recurrent import Recurrent
from dlrun.objectives.losses import Elementwise
from dlrun.objectives.metrics import Classification
from dlrun.spec import DataSpec
from tests.helpers.steps import (
    IMAGE,
    TABLE,
    TEXT,
    Batch,
    Rows,
    assert_same,
    batches_of,
    fused,
    small_cnn,
    small_mlp,
    state_of,
    train,
)

Make = Callable[[DataSpec], nn.Module]


def chosen(state: TrainState, batches: list[Batch]) -> tuple[Any, list[str]]:
    return choose_step(state, StepOptions(Rows(batches)), fast=True)


def check(make: Make, spec: DataSpec = TABLE, change: Callable[[TrainState], Any] = id) -> list[str]:
    """The chosen step gives the plain step's numbers; its words."""
    states = state_of(make, spec), state_of(make, spec)
    for state in states:
        change(state)
    step, words = chosen(states[0], batches_of(spec))
    expected = train(PlainStep(), states[1], batches_of(spec))
    torch.testing.assert_close(train(step, states[0], batches_of(spec)), expected, rtol=1e-5, atol=1e-6)
    assert_same(*states)
    return words


def clamp(state: TrainState) -> None:
    """The weights stay small, by a hook on the optimizer's steps."""

    def hook(optimizer: Any, *rest: Any) -> None:
        with torch.no_grad():
            for p in state.model.parameters():
                p.clamp_(-0.1, 0.1)

    state.optimizer.register_step_post_hook(hook)


def replace_step(state: TrainState) -> None:
    """The same by another `step` on the optimizer."""
    own = state.optimizer.step

    def step(closure: Any = None) -> None:
        own(closure)
        with torch.no_grad():
            for p in state.model.parameters():
                p.clamp_(-0.1, 0.1)

    state.optimizer.step = step  # type: ignore[assignment]


@pytest.mark.parametrize("change", [clamp, replace_step])
def test_hooks_and_steps_of_an_optimizer_are_called(change: Callable[[TrainState], None]) -> None:
    assert check(small_mlp, change=change)[0] == "lean"
    state, later = state_of(small_mlp), state_of(small_mlp)
    for each, step in ((state, PlainStep()), (later, fused(later))):
        train(step, each, batches_of(TABLE, 3))
        change(each)  # after the step was chosen
        train(step, each, batches_of(TABLE, 3))
        assert max(float(p.detach().abs().max()) for p in each.model.parameters()) < 0.1001
    assert_same(state, later)


def test_a_schedulers_counter_is_no_reason() -> None:
    state = state_of(small_mlp)
    torch.optim.lr_scheduler.StepLR(state.optimizer, 1)
    assert fused_update(state.optimizer) is not None


def test_weights_of_two_types_have_no_kernels() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    assert fused_update(torch.optim.SGD(model.parameters(), lr=0.1)) is None


class Called(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return 2 * super().__call__(x)  # type: ignore[no-any-return]


def test_a_call_of_its_own_is_called() -> None:
    words = check(lambda spec: nn.Sequential(Called(6, 5), nn.Tanh(), nn.Linear(5, 3)))
    assert "chain" not in words


class Mean(Recurrent):
    """Reads something else than the last state."""

    def last_state(self, final: Any) -> Tensor:
        return super().last_state(final).tanh() * 2


def mean_gru(spec: DataSpec) -> nn.Module:
    return Mean(nn.Embedding(9, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3), every_step=False)


def test_a_users_recurrence_is_its_own() -> None:
    assert "packed_gru" not in check(mean_gru, TEXT)
    assert packed_gru(mean_gru(TEXT)) is None


def test_a_length_beyond_the_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="9 steps, and its batch is 7 wide"):
        pack(torch.tensor([3, 9]), 7, both_ways=False)


class Textbook(nn.Module):
    """Flattens by `view`, as textbooks do."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4 * 25, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.head(x.view(x.size(0), -1))  # type: ignore[no-any-return]


def by_pixel(spec: DataSpec) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.3), nn.Flatten(), nn.Linear(400, 3))


def by_pixel_under_a_head_of_zeros(spec: DataSpec) -> nn.Module:
    """Only the gradients show that it draws by pixel."""
    model = by_pixel(spec)
    nn.init.zeros_(model[-1].weight)
    return model


@pytest.mark.parametrize("make", [Textbook, by_pixel, by_pixel_under_a_head_of_zeros])
def test_a_model_that_channels_last_is_not_safe_for_keeps_its_layout(make: Make) -> None:
    assert check(make, IMAGE) == ["fused"]


def test_one_that_it_is_safe_for_is_laid_out_and_the_trial_leaves_no_trace() -> None:
    def with_channel_dropout(spec: DataSpec) -> nn.Module:
        layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(400, 3)]
        return nn.Sequential(*layers)

    state = state_of(with_channel_dropout, IMAGE)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    randomness, python = torch.get_rng_state(), random.getstate()
    _, words = chosen(state, batches_of(IMAGE))
    assert words == ["fused", "channels_last"]
    torch.testing.assert_close(dict(state.model.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert random.getstate() == python
    assert all(p.grad is None for p in state.model.parameters())


def test_another_ones_optimizer_gets_the_usual_strides() -> None:
    class Mine(torch.optim.SGD):
        pass

    state = state_of(Textbook, IMAGE)
    state.optimizer = Mine(state.model.parameters(), lr=0.1)
    assert chosen(state, batches_of(IMAGE))[1] == ["lean"]


def test_the_chain_asks_what_the_loss_computes() -> None:
    def in_place(output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return output.mul_(2).sub(target).square().mean()

    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    assert chain(model, Elementwise("mine", in_place, "mean"), 1) is None
    assert chain(model, Elementwise("mse", F.mse_loss, "mean"), 1) is not None


class Changing(nn.Module):
    """Does in Python what a recording would do once and never again."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0
        self.seen: list[int] = []
        self.generator = np.random.default_rng(0)
        self.linear = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))
        if how == "hook":
            self.linear.weight.register_hook(lambda gradient: gradient * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "count":
            self.calls += 1
        if self.how == "list":
            self.seen.append(len(x))
        if self.how == "generator" and self.generator.random() < 2:
            x = x * 2
        if self.how == "draw" and random.random() < 2:
            x = x * 2
        if self.how == "replace":
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return self.linear(x - self.mean)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("hook", "a parameter has hooks"),
        ("count", "changes its attribute calls"),
        ("list", "changes its attribute seen"),
        ("generator", "changes its attribute generator"),
        ("draw", "random numbers of Python"),
        ("replace", "replaces mean: change it in place"),
    ],
)
def test_what_python_does_is_not_compiled_away(how: str, words: str) -> None:
    state = state_of(lambda spec: Changing(how))
    with pytest.raises(ConfigError, match=words):
        CompiledStep(state, fused(state), batches_of(TABLE)[0])


class Warming(Elementwise):
    """A loss that counts its calls, or averages over them."""

    def __init__(self, how: str) -> None:
        super().__init__("warming", F.mse_loss, "mean")
        self.how, self.calls = how, 0
        self.register_buffer("level", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(output, target)
        if self.how == "count":
            self.calls += 1
            return loss * (1 - 0.5**self.calls)
        if self.how == "replace":
            self.level = 0.9 * self.level + 0.1 * loss.detach()
        else:
            self.level.lerp_(loss.detach(), 0.1)
        return loss * (1 + self.level)


@pytest.mark.parametrize(("how", "words"), [("count", "Warming changes its attribute calls"), ("replace", "level")])
def test_nor_what_a_loss_does(how: str, words: str) -> None:
    state = state_of(small_mlp)
    state.loss = Warming(how)
    with pytest.raises(ConfigError, match=words):
        CompiledStep(state, fused(state), batches_of(TABLE)[0])


class Settled(nn.Linear):
    """Sets at each call what it has set before."""

    threshold = float("nan")

    def forward(self, x: Tensor) -> Tensor:
        self.rows, self.threshold = len(x), float("nan")
        return super().forward(x)


@pytest.mark.usefixtures("interpreted")
def test_what_stays_as_it_was_may_be_compiled() -> None:
    state = state_of(lambda spec: Settled(6, 3))
    state.loss = Warming("in place")
    assert CompiledStep(state, fused(state), batches_of(TABLE)[0]).whole
    assert "rows" not in vars(state.model), "nothing of the tracing stays"


@pytest.mark.parametrize("how", ["count", "replace", "in place"])
def test_the_choice_of_a_layout_leaves_the_loss_alone(how: str) -> None:
    state = state_of(small_cnn, IMAGE)
    state.loss = Warming(how)
    _, words = chosen(state, batches_of(IMAGE))
    assert "channels_last" in words
    assert state.loss.calls == float(state.loss.level) == 0


def test_the_state_of_a_loss_is_part_of_a_checkpoint() -> None:
    states = [state_of(small_mlp) for _ in range(2)]
    for state in states:
        state.loss, state.metric = Warming("in place"), None
    train(PlainStep(), states[0], batches_of(TABLE))
    states[1].load_state_dict(copy.deepcopy(states[0].state_dict()))
    assert float(states[1].loss.level) == float(states[0].loss.level) != 0


def test_the_norm_that_is_clipped_is_the_optimizers_and_no_gradient_stays() -> None:
    """A hand-written loop that clears by `optimizer.zero_grad()` would sum up the others' for ever (trap T16)."""

    def head_only(state: TrainState) -> None:
        state.optimizer = torch.optim.SGD(list(state.model.parameters())[-2:], lr=0.1)
        state.__post_init__()

    states = state_of(small_mlp), state_of(small_mlp)
    for state, step in zip(states, (PlainStep(clip_norm=0.05), fused(states[1], clip_norm=0.05)), strict=True):
        head_only(state)
        if step.name == "fused":
            step.fused_update = fused_update(state.optimizer)
        before = [p.detach().clone() for p in state.model.parameters()]
        train(step, state, batches_of(TABLE, 1))
        moved = [float((p.detach() - q).norm()) for p, q in zip(state.model.parameters(), before, strict=True)]
        assert (moved[-1] ** 2 + moved[-2] ** 2) ** 0.5 == pytest.approx(0.1 * 0.05, rel=1e-3)
        assert all(p.grad is None for p in state.model.parameters())
    assert_same(*states)


def test_an_optimizer_that_says_it_needs_a_closure_gets_one() -> None:
    class Mine(torch.optim.SGD):
        needs_closure = True

    state = state_of(small_mlp)
    state.optimizer = Mine(state.model.parameters(), lr=0.1)
    assert isinstance(chosen(state, batches_of(TABLE))[0], ClosureStep)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_model_may_change_its_input_in_place(shuffle: bool) -> None:
    part = Split(inputs=(torch.ones(10, 6),), target=torch.zeros(10, dtype=torch.int64))
    batches = ResidentBatches(part, TABLE, batch_size=4, shuffle=shuffle)
    for epoch in range(3):
        for batch in batches.epoch(epoch):
            assert bool((batch.inputs[0] == 1).all())
            assert bool((batch.target == 0).all())
            batch.inputs[0].sub_(0.5)
            batch.target.add_(1)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_target_of_a_reconstruction_is_its_own(shuffle: bool) -> None:
    images = torch.ones(10, 6)
    batches = ResidentBatches(Split((images,), images), TABLE, batch_size=4, shuffle=shuffle)
    for batch in batches.epoch(0):
        batch.inputs[0].zero_()
        assert bool((batch.target == 1).all())


class Merging(nn.Module):
    """Keeps a low-rank part beside its weight, merged for evaluation and taken out again for training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.merged, self.turns = nn.Linear(2, 2), False, 0

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        with torch.no_grad():
            self.linear.weight.data = self.linear.weight * (0.5 if mode else 2.0)
        self.merged, self.turns = not mode, self.turns + 1
        return self


def test_a_module_with_a_train_of_its_own_is_told_once_each_way() -> None:
    model = nn.Sequential(nn.Dropout(), Merging(), nn.Linear(2, 2).eval())
    with eval_mode(model):
        assert model[1].merged
        assert not any(module.training for module in model.modules())
    assert not model[1].merged
    assert model[1].turns == 2
    assert [module.training for module in model] == [True, True, False]


def test_what_a_module_does_as_the_mode_changes_can_be_trained_on() -> None:
    """Not so the tensors of inference mode."""
    state = state_of(lambda spec: nn.Sequential(nn.Linear(6, 2), Merging(), nn.Linear(2, 3)))
    state.metric = Classification(TABLE)
    evaluate(state, Rows(batches_of(TABLE)))
    train(PlainStep(), state, batches_of(TABLE, 2))
    assert not state.model[1].merged


def test_a_frozen_module_in_one_that_is_told_stays_in_eval_mode() -> None:
    class Parent(nn.Sequential):
        def train(self, mode: bool = True) -> Parent:
            return super().train(mode)

    model = Parent(nn.Linear(2, 2), Merging())
    model[1].eval()
    with eval_mode(model):
        pass
    assert [model.training, model[1].training, model[1].merged] == [True, False, True]

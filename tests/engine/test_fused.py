"""The fused step gives the plain step's numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlrun.engine.fast.kernels import FusedUpdate, fused_update
from dlrun.engine.step import PlainStep
from dlrun.objectives import schedulers
from dlrun.objectives.losses import cross_entropy
from tests.helpers import warm
from tests.helpers.steps import (
    KERNELS,
    NAMES,
    SETTINGS,
    TABLE,
    assert_same,
    batches_of,
    compare,
    fused,
    state_of,
    train,
    two_groups,
    with_norm,
    without_dropout,
)


@pytest.mark.parametrize("name", NAMES)
def test_fused_step_equals_plain_for_every_optimizer(name: str) -> None:
    state, plain = state_of(optimizer=name), state_of(optimizer=name)
    step = fused(state)
    compare(step, state, plain, batches_of(TABLE))
    assert (step.fused_update is not None) == (name in KERNELS)
    if step.fused_update is not None:
        assert step.fused_update.lists, "the kernels were never called"


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
    assert len({entry["step"].untyped_storage().data_ptr() for entry in states[0].optimizer.state.values()}) == 1


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


def test_no_compiler_is_imported(tmp_path: Path) -> None:
    code = """
import sys, torch
from tests.helpers.steps import TABLE, batches_of, fused, state_of, train
assert "torch._dynamo" not in sys.modules, "by an import"
for name in ("adam", "rmsprop"):
    state = state_of(optimizer=name)
    train(fused(state, clip_norm=1.0), state, batches_of(TABLE, 3))
assert "torch._dynamo" not in sys.modules, "by a step"
"""
    assert warm.run_code(code, tmp_path / "said") == 0, (tmp_path / "said").read_text()

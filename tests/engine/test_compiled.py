"""The compiled step gives the plain step's numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrun.engine.choose import choose_step
from dlrun.engine.fast.compiled import CompiledStep
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.step import PlainStep
from dlrun.errors import ConfigError
from dlrun.models.recurrent import gru
from tests.helpers.cases import slow_where
from tests.helpers.steps import (
    IMAGE,
    SETTINGS,
    TABLE,
    TEXT,
    Batch,
    Rows,
    assert_same,
    batches_of,
    compare,
    fused,
    small_cnn,
    state_of,
    train,
    two_groups,
    with_norm,
)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("name", "settings"), slow_where(SETTINGS[1:5].__contains__, [*SETTINGS[:6], ("sgd", {}), ("rmsprop", {})])
)
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
    state, plain = state_of(optimizer="adam"), state_of(optimizer="adam")
    step, words = choose_step(state, StepOptions(Rows(batches)), fast=True, compile=True)
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

"""Somebody changes the optimizer, its state or the weights between steps: a fast step goes on as the plain one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.engine.chunk import Chunk
from dlrun.engine.fast.compiled import CompiledStep
from dlrun.engine.state import TrainState
from dlrun.engine.step import PlainStep
from tests.engine.test_graph import Replayed, graph_step
from tests.helpers.cases import slow_where
from tests.helpers.steps import TABLE, assert_same, batches_of, fused, small_mlp, state_of, train

CLIP = 0.3


def replace_moments(state: TrainState) -> None:
    for entry in state.optimizer.state.values():
        for key in ("exp_avg", "momentum_buffer"):
            if key in entry:
                entry[key] = torch.zeros_like(entry[key])


def replace_one(state: TrainState) -> None:
    *_, entry = state.optimizer.state.values()
    key = "exp_avg" if "exp_avg" in entry else "momentum_buffer"
    entry[key] = entry[key] * 3


def clear(state: TrainState) -> None:
    state.optimizer.state.clear()


def freeze(state: TrainState) -> None:
    *_, weight, _ = state.model.parameters()
    weight.requires_grad_(False)


def move(state: TrainState) -> None:
    for p in state.model.parameters():
        p.data = p.data * 0.9


def regroup(state: TrainState) -> None:
    params = state.optimizer.param_groups[0]["params"]
    state.optimizer.add_param_group({"params": [params.pop()], "lr": 0.5})


def step_of(kind: str, state: TrainState) -> Any:
    if kind == "fused":
        return fused(state, clip_norm=CLIP)
    if kind == "graph":
        return graph_step(Replayed, state, rows=8)
    return CompiledStep(state, fused(state, clip_norm=CLIP), batches_of(TABLE)[0])


MOMENTUM = {"momentum": 0.9, "lr": 0.1}
CASES = [
    (kind, name, settings, meddle)
    for kind in ("fused", "graph", "compiled")
    for name, settings in (("adam", {}), ("sgd", MOMENTUM))
    for meddle in (replace_moments, replace_one, clear, freeze, move, regroup)
]
CASES += [("compiled", "rmsprop", {}, meddle) for meddle in (freeze, move)]  # only its gradients are compiled


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("kind", "name", "settings", "meddle"), slow_where(lambda case: case[:2] == ("compiled", "sgd"), CASES)
)
def test_a_fast_step_notices(
    kind: str, name: str, settings: dict[str, Any], meddle: Callable[[TrainState], None]
) -> None:
    states = [state_of(small_mlp, optimizer=name, **settings) for _ in range(2)]
    batches = batches_of(TABLE)
    for state, step in zip(states, (step_of(kind, states[0]), PlainStep(clip_norm=CLIP)), strict=True):
        train(step, state, batches)
        meddle(state)
        train(step, state, batches)
        meddle(state) if meddle in (replace_one, move) else None
        train(step, state, batches)
    assert_same(*states)


@pytest.mark.usefixtures("interpreted")
def test_a_rate_that_is_a_tensor_is_read_at_each_step() -> None:
    states = [state_of(small_mlp) for _ in range(2)]
    batches = batches_of(TABLE)
    for state in states:
        state.optimizer = torch.optim.SGD(state.model.parameters(), lr=torch.tensor(0.5))
    for state, step in zip(states, (step_of("compiled", states[0]), PlainStep(clip_norm=CLIP)), strict=True):
        for batch in batches:
            train(step, state, [batch])
            state.optimizer.param_groups[0]["lr"].mul_(0.8)
    assert_same(*states)


class Twofold(nn.Module):
    """Two weights with the same gradient, which a graph gives back as one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.full((3, 6), 0.1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.a + self.b)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_equal_gradients_are_not_one(accumulate: int) -> None:
    states = [state_of(lambda spec: Twofold(), optimizer="rmsprop") for _ in range(2)]
    step = CompiledStep(states[0], fused(states[0], clip_norm=0.05), batches_of(TABLE)[0], accumulate=accumulate)
    for state, taken in zip(states, (step, PlainStep(clip_norm=0.05)), strict=True):
        train(taken, state, batches_of(TABLE), accumulate)
    assert_same(*states)


class Constant(nn.Module):
    """Learns one number for each class, whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.expand(len(x), 3)


def test_outputs_that_the_next_step_changes_are_counted_as_they_were() -> None:
    state = state_of(lambda spec: Constant(), lr=1.0)
    chunk = Chunk(state)
    for batch in batches_of(TABLE, 3):
        loss, output = PlainStep()(state, batch)
        before = output.clone()
        chunk.add(loss, output, batch, 1.0, 1.0, True)
        with torch.no_grad():
            state.model.scores.add_(1.0)
        assert torch.equal(chunk.outputs[-1], before)

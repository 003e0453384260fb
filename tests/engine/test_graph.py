"""The CUDA graph step, its bookkeeping on the CPU and the real thing where there is a GPU; and stacked states."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrun.engine.choose import choose_step
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.graph import GraphStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.state import TrainState
from dlrun.engine.step import PlainStep
from dlrun.models.mlp import mlp
from dlrun.objectives.losses import cross_entropy
from tests.helpers.steps import (
    IMAGE,
    TABLE,
    Batch,
    Rows,
    assert_same,
    batches_of,
    compare,
    fused,
    small_cnn,
    small_mlp,
    state_of,
    train,
    with_norm,
    without_dropout,
)


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
    assert step.refused == "operation not permitted when stream is capturing"


def test_a_step_whose_python_changes_something_stays_eager() -> None:
    class Changing(Replayed):
        def new_graph(self, state: Any) -> Any:
            state.model.calls = 1
            state.model.body.norm1.running_mean = torch.ones(5)
            return super().new_graph(state)

    state = state_of(with_norm)
    mean = state.model.body.norm1.running_mean
    step = graph_step(Changing, state, rows=8)
    train(step, state, batches_of(TABLE))
    assert step.graph is None
    assert "replaces its buffer running_mean" in step.refused
    assert state.model.body.norm1.running_mean is mean, "not the recording's"


def test_settings_that_change_at_each_step_end_the_recording() -> None:
    states = state_of(momentum=0.5), state_of(momentum=0.5)
    step = graph_step(Replayed, states[0], rows=8)
    for state, taken in zip(states, (step, PlainStep(clip_norm=0.3)), strict=True):
        for i in range(20):
            state.optimizer.param_groups[0]["momentum"] = 0.5 + i / 100
            train(taken, state, batches_of(TABLE)[i : i + 1])
    assert_same(*states)
    assert "again and again" in step.refused


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
    options = StepOptions(Rows(on_gpu(batches_of(IMAGE, 2))))
    state = state_of(small_cnn, IMAGE, "adam", "cuda")
    step, words = choose_step(state, options, fast=True)
    assert words == ["cuda_graph", "channels_last"]
    train(step, state, on_gpu(batches_of(IMAGE)))
    assert step.graph is not None


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

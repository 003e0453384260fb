"""What the tests of the steps share: small models, batches, and the comparison with the plain step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.components.registry import OPTIMIZERS
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.kernels import fused_update
from dlrun.engine.fast.straight import straight
from dlrun.engine.state import TrainState
from dlrun.engine.step import PlainStep
from dlrun.models.cnn import cnn
from dlrun.models.mlp import mlp
from dlrun.objectives import optimizers
from dlrun.objectives.losses import cross_entropy
from dlrun.spec import Batch, DataSpec

TABLE = DataSpec("table", "classification", "tabular", (6,), 3)
IMAGE = DataSpec("image", "classification", "image", (2, 12, 12), 3)
TEXT = DataSpec("text", "classification", "text", (7,), 3, vocabulary=tuple("_abcdefgh"))
NAMES = [name for name in OPTIMIZERS.builtin if name != "lbfgs"]
KERNELS = ("sgd", "adam", "adamw", "adagrad")


class Rows:
    """As much of a source of batches as the choice of a step asks for."""

    weighted = False

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


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("adam", {"weight_decay": 0.1}),
    ("adam", {"amsgrad": True, "maximize": True}),
    ("adamw", {"weight_decay": 0.1, "amsgrad": True}),
    ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
]


def two_groups(state: TrainState) -> None:
    params = list(state.model.parameters())
    groups = [{"params": params[:3], "lr": 0.1}, {"params": params[3:], "weight_decay": 0.1}]
    state.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)


def without_dropout(*states: TrainState) -> None:
    for state in states:
        for module in state.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

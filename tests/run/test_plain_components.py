"""Components as users of PyTorch write them: torch's own classes, plain functions and modules; and what is neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler

import dlrun
from dlrun import cli
from dlrun.components.registry import LOSSES, MODELS, OPTIMIZERS, SCHEDULERS, TABLES
from dlrun.errors import ConfigError

WORDS = ["dataset=iris", "device=cpu", "device.threads=1", "trainer.epochs=3", "trainer.eval_every=1", "run.dir=a"]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """What a test registers is gone after it."""
    yield
    for table in (LOSSES, MODELS, OPTIMIZERS, SCHEDULERS):
        table.plugins.clear()


class Smooth(nn.Module):
    """A module without `check` and `denominator`."""

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, label_smoothing=self.smoothing)


def plain(output: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """A function of output and target, with a setting."""
    return functional.cross_entropy(output, target, label_smoothing=smoothing)


def made(smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: plain(output, target, smoothing)


@pytest.mark.parametrize("loss", [Smooth, plain, made])
def test_a_loss_may_be_a_module_a_function_or_what_makes_one(loss: Callable[..., Any]) -> None:
    dlrun.register.loss("mine")(loss)
    run = dlrun.train([*WORDS, "loss=mine", "loss.smoothing=0.1"])
    own = dlrun.train([*WORDS, "run.dir=b", "loss=cross_entropy", "loss.label_smoothing=0.1"])
    assert run.metrics["val_loss"].tolist() == pytest.approx(own.metrics["val_loss"].tolist(), rel=1e-5)
    assert cli.main(["resume", "a", "trainer.epochs=4"]) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_loss_class_of_torch_is_registered_as_it_is(reduction: str) -> None:
    dlrun.register.loss("mine")(nn.CrossEntropyLoss)
    run = dlrun.train([*WORDS, "loss=mine", f"loss.reduction={reduction}"])
    own = dlrun.train([*WORDS, "run.dir=b", "loss=cross_entropy", f"loss.reduction={reduction}"])
    assert run.metrics["train_loss"].tolist() == pytest.approx(own.metrics["train_loss"].tolist(), rel=1e-5)


def halving(optimizer: torch.optim.Optimizer, every: int = 1) -> lr_scheduler.LRScheduler:
    return lr_scheduler.StepLR(optimizer, every, 0.5)


@pytest.mark.parametrize(("scheduler", "words"), [(halving, []), (lr_scheduler.ExponentialLR, ["scheduler.gamma=0.5"])])
def test_a_scheduler_of_torch_goes_by_epochs(scheduler: Callable[..., Any], words: list[str]) -> None:
    dlrun.register.scheduler("mine")(scheduler)
    run = dlrun.train([*WORDS, "scheduler=mine", *words, "optimizer.lr=0.4"])
    assert run.metrics["lr"].tolist() == pytest.approx([0.4, 0.2, 0.1])


def test_a_plateau_of_torch_goes_by_the_monitored_metric() -> None:
    dlrun.register.scheduler("mine")(lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.5, 0))
    run = dlrun.train([*WORDS, "scheduler=mine", "optimizer.lr=0.001"])  # val_loss falls: no improvement to `max`
    assert run.metrics["lr"].tolist() == pytest.approx([0.001, 0.001, 0.0005])


def test_an_optimizer_class_of_torch_is_registered_as_it_is() -> None:
    dlrun.register.optimizer("mine")(torch.optim.AdamW)
    run = dlrun.train([*WORDS, "optimizer=mine", "optimizer.lr=0.02", "optimizer.betas=[0.8,0.99]"])
    own = dlrun.train([*WORDS, "run.dir=b", "optimizer=adamw", "optimizer.lr=0.02", "optimizer.betas=[0.8,0.99]"])
    assert run.metrics["val_loss"].tolist() == pytest.approx(own.metrics["val_loss"].tolist(), rel=1e-4)


class Pair(nn.Module):
    """It returns its output twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(x), self.head(x)


@pytest.mark.parametrize(
    ("kind", "component", "told"),
    [
        ("loss", lambda: None, "loss: mine returned None, not a loss"),
        ("loss", lambda: 3, "loss: mine returned an int, not a loss"),
        ("loss", lambda output, target: (output.sum(), 1), "loss: mine gives a tuple, not one number"),
        ("loss", lambda output, target: 0.5, "loss: mine gives a float, not one number"),
        ("loss", lambda output, target: output.detach().mean(), "loss: mine gives a number that has no gradient"),
        ("scheduler", lambda optimizer: 0.1, "scheduler: mine returned a float, not a dlrun.Schedule"),
        ("optimizer", lambda params, lr=0.1: None, "optimizer: mine returned None, not a torch.optim.Optimizer"),
        ("model", lambda spec: "net", "model: mine returned a str, not a torch.nn.Module"),
        ("model", lambda spec: Pair(), "model: mine returns a tuple, not a tensor"),
    ],
)
def test_anything_else_is_one_line(kind: str, component: Callable[..., Any], told: str) -> None:
    TABLES[kind].register("mine")(component)
    with pytest.raises(ConfigError) as caught:
        dlrun.train([*WORDS, f"{kind}=mine"])
    (problem,) = caught.value.problems
    assert told in str(problem)

"""fastai: a Learner over the same DataLoader, with its recorder of loss and its accuracy metric."""

from __future__ import annotations

from typing import Any

import fastai.callback.progress  # noqa: F401  (gives a Learner its `no_bar`)
from fastai.data.core import DataLoaders
from fastai.learner import Callback, Learner
from fastai.optimizer import OptimWrapper
from tasks import Clock, Task
from torch import nn


class Epochs(Callback):
    """Tells the clock."""

    def __init__(self, clock: Clock, samples: int) -> None:
        self.clock, self.samples, self.right = clock, samples, 0

    def before_train(self) -> None:
        self.clock.start()
        self.right = 0

    def after_batch(self) -> None:
        self.right += (self.learn.pred.argmax(1) == self.learn.yb[0]).sum().item()

    def after_train(self) -> None:
        self.clock.stop(self.samples)


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train with `Learner.fit`, without a validation pass."""
    loader = task.loader()

    def optimizer(parameters: Any, **_: Any) -> OptimWrapper:
        bare = task.optimizer(parameters)
        clock.watch(bare)
        return OptimWrapper(opt=bare)

    learner = Learner(
        DataLoaders(loader, []),
        task.model(),
        loss_func=nn.CrossEntropyLoss(),
        opt_func=optimizer,
        cbs=[Epochs(clock, len(loader.dataset))],  # type: ignore[arg-type]
    )
    rate = task.optimizer([nn.Parameter(nn.Linear(1, 1).weight)]).defaults["lr"]
    with learner.no_bar(), learner.no_logging():
        learner.fit(epochs, lr=rate)

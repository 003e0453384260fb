"""skorch: NeuralNetClassifier without validation and printing, with training accuracy by batch."""

from __future__ import annotations

from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, PassthroughScoring
from tasks import Clock, Task, collate_names
from torch import Tensor, nn


class Epochs(Callback):
    """Tells the clock, and counts correct answers."""

    def __init__(self, clock: Clock, samples: int) -> None:
        self.clock, self.samples = clock, samples

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        self.clock.start()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        self.clock.stop(self.samples)

    def on_batch_end(self, net: Any, batch: Any, training: bool = True, **kwargs: Any) -> None:
        self.clock.first()
        right = (kwargs["y_pred"].argmax(1) == batch[1]).sum().item()
        net.history.record_batch("right", right)


def collate(rows: list[tuple[str, int]]) -> tuple[dict[str, Tensor], Tensor]:
    """skorch passes a dict of inputs as keyword arguments."""
    codes, lengths, target = collate_names(rows)
    return {"codes": codes, "lengths": lengths}, target


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train with `fit`."""
    data, model = task.dataset(), task.model()
    kind = type(task.optimizer([torch.nn.Parameter(torch.ones(1))]))
    defaults = task.optimizer([torch.nn.Parameter(torch.ones(1))]).defaults
    options: dict[str, Any] = {"lr": defaults["lr"]}
    if "momentum" in defaults:
        options["optimizer__momentum"] = defaults["momentum"]
    if task.name == "names_gru":
        options["iterator_train__collate_fn"] = collate
    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=kind,
        max_epochs=epochs,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        classes=list(range(18)),
        callbacks=[Epochs(clock, len(data)), PassthroughScoring("right", on_train=True)],  # type: ignore[arg-type]
        callbacks__print_log=None,
        **options,
    )
    net.fit(data, y=None)

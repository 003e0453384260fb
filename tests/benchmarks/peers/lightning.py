"""Lightning: its Trainer without bar, logger and checkpoints, loss and accuracy logged by epoch."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from tasks import Clock, Task
from torch import Tensor, nn


class Module(L.LightningModule):
    """The task's model as Lightning wants it."""

    def __init__(self, task: Task, clock: Clock) -> None:
        super().__init__()
        self.model, self.task, self.clock = task.model(), task, clock

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """The loss of a batch; Lightning steps."""
        *inputs, target = batch
        output = self.model(*inputs)
        loss = nn.functional.cross_entropy(output, target)
        size = len(target)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=size)
        right = (output.argmax(1) == target).float().mean()
        self.log("accuracy", right, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The task's optimizer."""
        optimizer = self.task.optimizer(self.model.parameters())
        self.clock.watch(optimizer)
        return optimizer


class Epochs(Callback):
    """Tells the clock."""

    def __init__(self, clock: Clock, samples: int) -> None:
        self.clock, self.samples = clock, samples

    def on_train_epoch_start(self, *_: Any) -> None:
        self.clock.start()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.stop(self.samples)


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train with `Trainer.fit`."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    loader = task.loader()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Epochs(clock, len(loader.dataset))],  # type: ignore[arg-type]
    )
    trainer.fit(Module(task, clock), loader)

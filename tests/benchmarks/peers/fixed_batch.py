"""The lower bound of an eager loop: one batch again and again, nothing loaded, nothing read back."""

from __future__ import annotations

from tasks import Clock, Task, batches
from torch import nn


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Step on the first batch as often as an epoch has batches."""
    model, loader, criterion = task.model(), task.loader(), nn.CrossEntropyLoss()
    optimizer = task.optimizer(model.parameters())
    clock.watch(optimizer)
    model.train()
    inputs, target = next(batches(loader))
    for _ in range(epochs):
        clock.start()
        for _ in range(len(loader)):
            optimizer.zero_grad()
            criterion(model(*inputs), target).backward()
            optimizer.step()
        clock.stop(len(loader) * len(target))

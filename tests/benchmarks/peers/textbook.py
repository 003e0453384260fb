"""The loop that textbooks print: a DataLoader, `.item()` every step. Everything is measured against it."""

from __future__ import annotations

from tasks import Clock, Task, batches
from torch import nn


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train, adding up loss and correct answers each step."""
    model, loader, criterion = task.model(), task.loader(), nn.CrossEntropyLoss()
    optimizer = task.optimizer(model.parameters())
    clock.watch(optimizer)
    for _ in range(epochs):
        clock.start()
        model.train()
        total, correct, samples = 0.0, 0, 0
        for inputs, target in batches(loader):
            optimizer.zero_grad()
            output = model(*inputs)
            loss = criterion(output, target)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(target)
            correct += (output.argmax(1) == target).sum().item()
            samples += len(target)
        clock.stop(samples)

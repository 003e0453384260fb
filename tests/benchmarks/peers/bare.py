"""The least that a start can cost: import torch, make the model and the optimizer, step on random numbers."""

from __future__ import annotations

import torch
from tasks import Clock, Task
from torch import nn


def run(task: Task, epochs: int, clock: Clock) -> None:
    """One step of the model on noise; for start-up only."""
    model = task.model()
    optimizer = task.optimizer(model.parameters())
    clock.watch(optimizer)
    shapes = {"digits_mlp": (64,), "mnist_mlp": (1, 28, 28), "mnist_cnn": (1, 28, 28)}
    inputs = [torch.randn(task.batch_size, *shapes.get(task.name, ()))]
    if task.name == "names_gru":
        inputs = [torch.ones(task.batch_size, 7, dtype=torch.long), torch.full((task.batch_size,), 7)]
    target = torch.zeros(task.batch_size, dtype=torch.long)
    nn.functional.cross_entropy(model(*inputs), target).backward()
    optimizer.step()

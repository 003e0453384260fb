"""Hugging Face accelerate: the textbook loop with `prepare` and `accelerator.backward`."""

from __future__ import annotations

from accelerate import Accelerator
from tasks import Clock, Task, batches
from torch import nn


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train on the CPU."""
    accelerator = Accelerator(cpu=True)
    model = task.model()
    bare = task.optimizer(model.parameters())
    clock.watch(bare)
    model, optimizer, loader = accelerator.prepare(model, bare, task.loader())
    for _ in range(epochs):
        clock.start()
        model.train()
        total, correct, samples = 0.0, 0, 0
        for inputs, target in batches(loader):
            optimizer.zero_grad()
            output = model(*inputs)
            loss = nn.functional.cross_entropy(output, target)
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item() * len(target)
            correct += (output.argmax(1) == target).sum().item()
            samples += len(target)
        clock.stop(samples)

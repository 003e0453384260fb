"""PyTorch-Ignite: an Engine with running sums of loss and accuracy."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from ignite.metrics import Accuracy, Average
from tasks import Clock, Task
from torch import Tensor, nn


def run(task: Task, epochs: int, clock: Clock) -> None:
    """Train with `Engine.run`."""
    model, loader = task.model(), task.loader()
    optimizer = task.optimizer(model.parameters())
    clock.watch(optimizer)

    def step(_: Engine, batch: list[Tensor]) -> dict[str, Any]:
        model.train()
        *inputs, target = batch
        optimizer.zero_grad()
        output = model(*inputs)
        loss = nn.functional.cross_entropy(output, target)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "answer": (output.detach(), target)}

    engine = Engine(step)
    Average(output_transform=lambda out: out["loss"]).attach(engine, "loss")
    Accuracy(output_transform=lambda out: out["answer"]).attach(engine, "accuracy")
    engine.add_event_handler(Events.EPOCH_STARTED, clock.start)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.stop(len(loader.dataset)))  # type: ignore[arg-type]
    engine.run(loader, max_epochs=epochs)

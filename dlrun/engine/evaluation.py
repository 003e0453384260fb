"""Loss and metrics over one part, in eval mode, each sample weighing the same, or by its row weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dlrun.engine.chunk import counted, merged, to_floats
from dlrun.engine.state import Plan
from dlrun.objectives.loss import denominator_of, loss_of
from dlrun.spec import Batch, BatchSource, Loss, Metric


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one part, and the counts that they come from (the confusion matrix, say)."""

    metrics: dict[str, float]
    counts: Tensor


class Evaluated(Protocol):
    """What is evaluated: a training state, or a trained model."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def loss(self) -> Loss: ...

    @property
    def metric(self) -> Metric: ...


def evaluate(
    state: Evaluated, batches: BatchSource, plan: Plan | None = None, *each: Callable[[Batch, Tensor], None]
) -> Evaluation | None:
    """Loss and metrics over one part; None if a stop was asked for meanwhile.

    Each of `each` is called with every batch and the model's output for it.
    Runs in eval mode (trap T14) without gradients (T04), and leaves every module's mode as it was.
    """
    with eval_mode(state.model), torch.inference_mode():
        losses, weights, counts = [], [], []
        for batch in batches.epoch(0):
            if plan is not None and plan.stop():
                return None
            output = state.model(*batch.inputs)
            losses.append(loss_of(state.loss, output, batch))
            weights.append(denominator_of(state.loss, batch))
            counts.append(state.metric.counts(output, *counted(batch.target, batch.weight)))
            for keep in each:
                keep(batch, output)
    total = total_of(state.metric, counts)
    values, divisors = to_floats(losses), to_floats(weights)
    if state.loss.reduction == "mean":
        values = [value * divisor for value, divisor in zip(values, divisors, strict=True)]
    weight = sum(divisors)  # 0 where every target is ignored: then nothing was measured, and 0 would be the best loss
    metrics = {"loss": sum(values) / weight if weight else float("nan")} | state.metric.result(total)
    return Evaluation(metrics, total)


def total_of(metric: Metric, counts: list[Tensor]) -> Tensor:
    """The counts of all batches together, on the CPU: merged as the metric says, or added up."""
    if hasattr(metric, "merge"):
        return torch.tensor(merged(metric.merge, counts), dtype=counts[0].dtype)
    return torch.stack(counts).sum(0).cpu()


class eval_mode:
    """`with eval_mode(model):` puts every module in eval mode, and back as it was.

    Where a module has a `train` or `eval` method of its own (one that merges weights for evaluation, say), that method
    is called both times, outside of inference mode, whose tensors could not be trained on.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = list(model.modules())
        self.training = [module.training for module in self.modules]
        self.with_own_mode: list[nn.Module] = []
        inner: set[nn.Module] = set()  # whose mode the module that holds them sets
        for module in self.modules:
            if module.training and has_own_mode(module) and module not in inner:
                self.with_own_mode.append(module)
                inner.update(module.modules())

    def __enter__(self) -> None:
        for module in self.with_own_mode:
            module.eval()
        for module in self.modules:
            vars(module)["training"] = False  # without the detour through nn.Module's own attributes (3 us a module)

    def __exit__(self, *exception: object) -> None:
        for module in self.with_own_mode:
            module.train()
        for module, training in zip(self.modules, self.training, strict=True):
            if module.training and not training and has_own_mode(module):  # the module that holds it has set its mode
                module.eval()
            vars(module)["training"] = training


def has_own_mode(module: nn.Module) -> bool:
    """Does its class do more than set a flag when the mode changes?"""
    kind = type(module)
    return kind.train is not nn.Module.train or kind.eval is not nn.Module.eval

"""Some steps of training whose losses and outputs are still on the device, and what is read from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from dlrun.engine.state import Plan, TrainState
from dlrun.errors import Diverged
from dlrun.objectives.loss import denominator_of
from dlrun.spec import Batch

GROUP = 32  # batches whose outputs are counted at once
GROUP_ELEMENTS = 4_000_000  # but no more numbers than these are held back


@dataclass(frozen=True)
class StepRow:
    """The loss of one optimizer step (1 = the first) and the learning rate it used."""

    step: int
    loss: float
    lr: float


class Chunk:
    """Some steps whose losses and outputs are still on the device."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.started = perf_counter()
        self.waited = 0.0
        self.first_step = state.step
        self.losses: list[Tensor] = []
        self.facts: list[tuple[float, float, bool, int | Tensor, int]] = []  # lr, scale, update, denominator, samples
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.weights: list[Tensor | None] = []
        self.held = 0
        self.borrowed = False  # outputs are views of what the next step changes
        self.counts: Tensor | None = None  # of the whole epoch so far
        self.unmerged: list[Tensor] = []  # counts of batches that do not simply add up

    def add(self, loss: Tensor, output: Tensor, batch: Batch, lr: float, scale: float, update: bool) -> None:
        """Remember one step; nothing is read from the device."""
        if not self.losses:
            self.borrowed = shares_memory(output, self.state.model)
        if self.borrowed:
            output = output.clone()
        self.losses.append(loss)
        self.facts.append((lr, scale, update, denominator_of(self.state.loss, batch), batch.target.shape[0]))
        self.outputs.append(output)
        self.targets.append(batch.target)
        self.weights.append(batch.weight)
        self.held += output.numel()
        if len(self.outputs) == GROUP or self.held > GROUP_ELEMENTS:
            self.count()

    def count(self) -> None:
        """Compute the metric's counts of the outputs collected so far."""
        metric = self.state.metric
        if not self.outputs:
            return
        integers = metric.countable and self.weights[0] is None  # whose sum does not depend on how they are cut
        if integers and len(self.outputs) > 1:
            self.outputs, self.targets, self.weights = [torch.cat(self.outputs)], [torch.cat(self.targets)], [None]
        for output, target, weight in zip(self.outputs, self.targets, self.weights, strict=True):
            counts = metric.train_counts(output, *counted(target, weight))
            if hasattr(metric, "train_merge"):
                self.unmerged.append(counts)
                continue
            if self.counts is None and self.state.sums.counts is not None:  # one by one, wherever a chunk begins
                before = torch.tensor(self.state.sums.counts, dtype=counts.dtype, device=counts.device)
                self.counts = before.reshape(counts.shape)
            self.counts = counts if self.counts is None else self.counts + counts
        self.outputs, self.targets, self.weights, self.held = [], [], [], 0

    def is_due(self, plan: Plan, update: bool) -> bool:
        """Has half a second passed, is a checkpoint due at this step, or was a stop asked for?"""
        if update and plan.checkpoint_steps is not None and self.state.step % plan.checkpoint_steps == 0:
            return True
        return plan.stop() or perf_counter() - self.started >= plan.chunk_seconds

    def read(self, log_every: int) -> list[StepRow]:
        """Read the chunk from the device into the epoch's sums. Raises `Diverged` at a loss that is not finite."""
        self.count()
        sums, step, rows = self.state.sums, self.first_step, []
        losses = to_floats(self.losses)
        weights = to_floats([denominator for *_, denominator, _ in self.facts])
        reduction = self.state.loss.reduction
        for loss, weight, (lr, scale, update, _, samples) in zip(losses, weights, self.facts, strict=True):
            if not math.isfinite(loss):
                raise Diverged(f"the loss of step {step + 1} is {loss}")
            sums.loss += loss * weight if reduction == "mean" else loss
            sums.weight += weight
            sums.samples += samples
            sums.update_loss += loss * scale
            if update:
                step += 1
                if step % log_every == 0 or step == 1:
                    rows.append(StepRow(step, sums.update_loss, float(lr)))
                sums.update_loss = 0.0
        if self.counts is not None:
            sums.counts = self.counts.flatten().tolist()
        if self.unmerged and (merge := getattr(self.state.metric, "train_merge", None)):
            sums.counts = merged(merge, self.unmerged, sums.counts)
        sums.seconds += perf_counter() - self.started
        sums.waited += self.waited
        return rows


def counted(target: Tensor, weight: Tensor | None) -> tuple[Tensor, ...]:
    """What a metric is handed beside the output: the row weights only where there are some."""
    return (target,) if weight is None else (target, weight)


def merged(
    merge: Callable[[Sequence[float], Sequence[float]], list[float]],
    counts: Sequence[Tensor],
    total: list[float] | None = None,
) -> list[float]:
    """Counts of batches joined one by one, so that the result does not depend on where a chunk ended."""
    for row in torch.stack(list(counts)).tolist():
        total = row if total is None else merge(total, row)
    assert total is not None
    return total


def shares_memory(output: Tensor, model: nn.Module) -> bool:
    """Is the output a view of a weight or buffer, as where a model learns constants?"""
    place = output.untyped_storage().data_ptr()
    return any(place == tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers()))


def to_floats(values: Sequence[int | Tensor]) -> list[float]:
    """Numbers, or 0-d tensors that are read from the device all at once, as floats."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(values) > 1 and len(tensors) == len(values):
        return torch.stack(tensors).tolist()
    return [float(value) for value in values]


def mean(total: float, weight: float) -> float:
    """Return total / weight, or 0 where every target is ignored (trap T50)."""
    return total / weight if weight else 0.0

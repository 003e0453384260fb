"""The loop. `fit` is a generator: it trains a chunk of steps, yields, and goes on when it is asked for more.

It yields only where `state.state_dict()` is a complete checkpoint. The caller (`run.runner`) draws the bar, writes
checkpoints, answers signals and stops there; nothing is called back. Within a chunk nothing is read from the
device: losses and counts stay tensors until the chunk ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.engine.state import Best, Plan, Sums, TrainState, better
from dlrun.errors import Diverged

GROUP = 32  # batches whose outputs are counted at once
GROUP_ELEMENTS = 4_000_000  # but no more numbers than these are held back


@dataclass(frozen=True)
class StepRow:
    """The loss of one optimizer step (1 = the first) and the learning rate it used."""

    step: int
    loss: float
    lr: float


@dataclass(frozen=True)
class Progress:
    """A chunk of steps is done. `loss` and `metrics` are those of the unfinished epoch so far."""

    epoch: int  # epochs finished
    batch: int  # batches done of the unfinished epoch
    batches: int
    step: int
    loss: float
    seconds: float  # of training in this epoch
    samples: int  # in this epoch
    rows: list[StepRow]
    state: TrainState = field(repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Computed when they are looked at, before training goes on."""
        return train_metrics(self.state)


@dataclass(frozen=True)
class EpochRecord:
    """An epoch is done and, if it was its turn, evaluated. `row` is a line of metrics.csv."""

    row: dict[str, float]
    is_best: bool
    evaluated: bool
    partial: bool  # cut short by max_steps: no checkpoint may be taken of it
    seconds: dict[str, float]  # train, wait, eval


def fit(state: TrainState, data: dict[str, Any], plan: Plan) -> Iterator[Progress | EpochRecord]:
    """Train until the plan is fulfilled. `data` maps `train` and the parts evaluated each time to their batches."""
    state.train_mode()
    while not is_finished(state, plan) or state.cursor > 0:
        yield from train_epoch(state, data["train"], plan)
        while (record := end_epoch(state, data, plan)) is None:  # evaluation gave way to a stop
            yield progress(state, len(data["train"]), [])
        yield record
        if record.partial:
            return


def is_finished(state: TrainState, plan: Plan) -> bool:
    """No more to train: the last epoch or step is done, or something said stop."""
    return state.epoch >= plan.epochs or state.stop_reason is not None or out_of_steps(state, plan)


def out_of_steps(state: TrainState, plan: Plan) -> bool:
    """The limit of steps is reached."""
    return plan.max_steps is not None and state.step >= plan.max_steps


def train_epoch(state: TrainState, batches: Any, plan: Plan) -> Iterator[Progress]:
    """The rest of the present epoch, chunk by chunk, from the cursor on."""
    chunk = Chunk(state)
    count = len(batches)
    if not state.model.training:  # visiting every module costs as much as a small step
        state.train_mode()
    source = iter(batches.epoch(state.epoch, start=state.cursor))
    while state.cursor < count and not out_of_steps(state, plan):
        started = perf_counter()
        batch = next(source)
        chunk.waited += perf_counter() - started

        lr = state.optimizer.param_groups[0]["lr"]
        scale, update = accumulation(batches, state.cursor, plan.accumulate)
        if state.loss.reduction == "sum":
            scale = 1.0  # the sum over the larger batch
        loss, output = plan.step(state, batch, scale, update)
        chunk.add(loss, output, batch.target, lr, scale, update)

        state.cursor += 1
        if update:
            state.step += 1
            if state.schedule is not None and state.schedule.interval == "step":
                state.schedule.step()
        if out_of_steps(state, plan) or state.cursor == count or chunk.is_due(plan, update):
            rows = chunk.read(plan.log_every)
            yield progress(state, count, rows)
            if not state.model.training:
                state.train_mode()
            chunk = Chunk(state)


def accumulation(batches: Any, index: int, accumulate: int) -> tuple[float, bool]:
    """This batch's share of the optimizer step that it belongs to, and whether it ends that step.

    Shares go by samples: exact for means over samples; for class weights and ignored targets, as near as that is.
    """
    if accumulate == 1:
        return 1.0, True
    first = index - index % accumulate
    last = min(first + accumulate, len(batches)) - 1
    total = sum(batches.sizes(i) for i in range(first, last + 1))
    return batches.sizes(index) / total, index == last


class Chunk:
    """Some steps whose losses and outputs are still on the device."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.started = perf_counter()
        self.waited = 0.0
        self.first_step = state.step
        self.losses: list[Tensor] = []
        self.facts: list[tuple[float, float, bool, Any, int]] = []  # lr, scale, update, denominator, samples
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.held = 0
        self.counts: Tensor | None = None  # of the whole epoch so far

    def add(
        self, loss: Tensor, output: Tensor, target: Tensor, lr: float, scale: float, update: bool
    ) -> None:
        """Remember one step; nothing is read back."""
        self.losses.append(loss)
        self.facts.append((lr, scale, update, self.state.loss.denominator(target), len(target)))
        self.outputs.append(output)
        self.targets.append(target)
        self.held += output.numel()
        if len(self.outputs) == GROUP or self.held > GROUP_ELEMENTS:
            self.count()

    def count(self) -> None:
        """Turn the outputs held back into the metric's counts."""
        metric = self.state.metric
        if not self.outputs:
            return
        if (
            metric.countable and len(self.outputs) > 1
        ):  # integers: their sum does not depend on how they are cut
            self.outputs, self.targets = [torch.cat(self.outputs)], [torch.cat(self.targets)]
        for output, target in zip(self.outputs, self.targets, strict=True):
            counts = metric.train_counts(output, target)
            if (
                self.counts is None and self.state.sums.counts is not None
            ):  # one by one, wherever a chunk begins
                before = torch.tensor(self.state.sums.counts, dtype=counts.dtype, device=counts.device)
                self.counts = before.reshape(counts.shape)
            self.counts = counts if self.counts is None else self.counts + counts
        self.outputs, self.targets, self.held = [], [], 0

    def is_due(self, plan: Plan, update: bool) -> bool:
        """Half a second has passed, a checkpoint is due at this step, or a stop was asked for."""
        if update and plan.checkpoint_steps is not None and self.state.step % plan.checkpoint_steps == 0:
            return True
        return plan.stop() or perf_counter() - self.started >= plan.chunk_seconds

    def read(self, log_every: int) -> list[StepRow]:
        """Read the chunk from the device into the epoch's sums. Raises `Diverged` at a loss that is not finite."""
        self.count()
        sums, step, rows = self.state.sums, self.first_step, []
        losses = read_all(self.losses)
        weights = read_all([denominator for *_, denominator, _ in self.facts])
        reduction = self.state.loss.reduction
        for loss, weight, (lr, scale, update, _, samples) in zip(losses, weights, self.facts, strict=True):
            if not math.isfinite(loss):
                raise Diverged(step + 1, loss)
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
        sums.seconds += perf_counter() - self.started
        sums.waited += self.waited
        return rows


def read_all(values: list[Any]) -> list[float]:
    """Numbers, or 0-d tensors that are read from the device all at once, as floats."""
    if len(values) > 1 and isinstance(values[0], Tensor):
        return torch.stack(values).tolist()
    return [float(value) for value in values]


def mean(total: float, weight: float) -> float:
    """The mean of an epoch; 0 where every target is ignored (trap T50)."""
    return total / weight if weight else 0.0


def train_metrics(state: TrainState) -> dict[str, float]:
    """The metrics of the unfinished epoch so far."""
    counts = state.sums.counts
    if counts is None:
        return {}
    return state.metric.train_result(torch.tensor(counts, dtype=torch.float64))


def progress(state: TrainState, batches: int, rows: list[StepRow]) -> Progress:
    """Where training stands."""
    sums = state.sums
    done = (state.epoch, state.cursor, batches, state.step)
    return Progress(*done, mean(sums.loss, sums.weight), sums.seconds, sums.samples, rows, state)


def end_epoch(state: TrainState, data: dict[str, Any], plan: Plan) -> EpochRecord | None:
    """Evaluate if it is due, choose the best, step the schedule, start the next epoch. None: a stop came first."""
    partial = state.cursor < len(data["train"])
    last = state.epoch + 1 >= plan.epochs or out_of_steps(state, plan)
    sums = state.sums
    row: dict[str, float] = {"epoch": state.epoch + 1, "step": state.step}
    row["train_loss"] = mean(sums.loss, sums.weight)
    row |= {f"train_{name}": value for name, value in train_metrics(state).items()}
    last = last or reached(row["train_loss"], plan)

    evaluated = last or (state.epoch + 1) % plan.eval_every == 0
    started = perf_counter()
    for part in [part for part in data if part != "train"] if evaluated else []:
        result = evaluate(state, data[part], plan)
        if result is None:
            return None
        row |= {f"{part}_{name}": value for name, value in result.metrics.items()}
    eval_seconds = perf_counter() - started

    row["lr"] = float(state.optimizer.param_groups[0]["lr"])
    row["epoch_seconds"] = sums.seconds + eval_seconds
    row["samples_per_second"] = sums.samples / sums.seconds
    is_best = select(state, row, plan)
    if reached(row["train_loss"], plan):
        state.stop_reason = f"the training loss reached trainer.stop_at_loss={plan.stop_at_loss}"
    seconds = {"train": sums.seconds, "wait": sums.waited, "eval": eval_seconds}
    if not partial:
        schedule_epoch(state, row, plan)
        state.epoch, state.cursor, state.sums = state.epoch + 1, 0, Sums()
    state.history.rows.append(row)
    return EpochRecord(row, is_best, evaluated, partial, seconds)


def reached(loss: float, plan: Plan) -> bool:
    return plan.stop_at_loss is not None and loss <= plan.stop_at_loss


def schedule_epoch(state: TrainState, row: dict[str, float], plan: Plan) -> None:
    """Step a schedule that goes by epochs, or by the monitored metric where that was evaluated."""
    if state.schedule is None or state.schedule.interval == "step":
        return
    if state.schedule.interval == "epoch":
        state.schedule.step()
    elif plan.monitor in row:
        state.schedule.step(row[plan.monitor])


def select(state: TrainState, row: dict[str, float], plan: Plan) -> bool:
    """Keep the weights if the monitored metric is the best so far; count evaluations without improvement."""
    value = row.get(plan.monitor)
    if value is None:
        return False
    old, ranked = state.patience_value, not math.isnan(value)  # nothing would be better than a NaN
    is_best = ranked and (state.best is None or better(value, state.best.value, plan.mode))
    improved = ranked and (old is None or better(value, old, plan.mode, plan.min_delta))
    if is_best:
        state.best = Best(value, int(row["epoch"]), dict(row))
        state.keep_best_weights()
    state.patience_value = value if improved else old
    state.without_improvement = 0 if improved else state.without_improvement + 1
    if plan.patience is not None and state.without_improvement >= plan.patience:
        state.stop_reason = f"{plan.monitor} did not improve in {plan.patience} evaluations"
    return is_best


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one part, and the counts that they come from (the confusion matrix, say)."""

    metrics: dict[str, float]
    counts: Tensor


@torch.inference_mode()
def evaluate(state: TrainState, batches: Any, plan: Plan | None = None) -> Evaluation | None:
    """Loss and metrics over one part, each sample weighing the same; None if a stop was asked for meanwhile.

    Runs in eval mode (trap T14) without gradients (T04), and leaves every module's mode as it was.
    """
    with eval_mode(state.model):
        losses, weights, counts = [], [], None
        for batch in batches.epoch(0):
            if plan is not None and plan.stop():
                return None
            output = state.model(*batch.inputs)
            losses.append(state.loss(output, batch.target))
            weights.append(state.loss.denominator(batch.target))
            new = state.metric.counts(output, batch.target)
            counts = new if counts is None else counts + new
    assert counts is not None, "a part without batches is refused when the data is built"
    values, divisors = read_all(losses), read_all(weights)
    if state.loss.reduction == "mean":
        values = [value * divisor for value, divisor in zip(values, divisors, strict=True)]
    metrics = {"loss": mean(sum(values), sum(divisors))} | state.metric.result(counts.cpu())
    return Evaluation(metrics, counts.cpu())


class eval_mode:
    """`with eval_mode(model):` puts every module in eval mode, and back as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.training = [module for module in model.modules() if module.training]
        self.model = model

    def __enter__(self) -> None:
        if any(type(module).train is not nn.Module.train for module in self.training):
            self.model.eval()
        else:
            self.set(False)

    def __exit__(self, *exception: object) -> None:
        self.set(True)

    def set(self, training: bool) -> None:
        """As `module.training = ...`, without the detour through nn.Module's own attributes (3 us a module)."""
        for module in self.training:
            vars(module)["training"] = training

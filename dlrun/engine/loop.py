"""The loop. `fit` is a generator: it trains a chunk of steps, yields, and goes on when it is asked for more.

It yields only where `state.state_dict()` is a complete checkpoint. The caller (`run.runner`) draws the bar, writes
checkpoints, answers signals and stops there; nothing is called back. Within a chunk nothing is read from the
device: losses and counts stay tensors until the chunk ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from time import perf_counter

import torch
from torch import Tensor

from dlrun.engine.chunk import Chunk, StepRow, mean, to_floats
from dlrun.engine.evaluation import evaluate
from dlrun.engine.state import Best, EpochTotals, Plan, TrainState, better
from dlrun.objectives.loss import denominator_of
from dlrun.spec import Batch, BatchSource


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
        """The metrics of the unfinished epoch, computed when they are asked for: ask before training goes on."""
        return train_metrics(self.state)


@dataclass(frozen=True)
class EpochRecord:
    """An epoch is done and, if it was its turn, evaluated. `row` is a line of metrics.csv."""

    row: dict[str, float]
    is_best: bool
    evaluated: bool
    partial: bool  # cut short by max_steps: no checkpoint may be taken of it
    seconds: dict[str, float]  # train, wait, eval


def fit(state: TrainState, data: Mapping[str, BatchSource], plan: Plan) -> Iterator[Progress | EpochRecord]:
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
    """Is there nothing more to train: is the last epoch or step done, or was training stopped?"""
    return state.epoch >= plan.epochs or state.stop_reason is not None or out_of_steps(state, plan)


def out_of_steps(state: TrainState, plan: Plan) -> bool:
    """Is the limit of steps reached?"""
    return plan.max_steps is not None and state.step >= plan.max_steps


def train_epoch(state: TrainState, batches: BatchSource, plan: Plan) -> Iterator[Progress]:
    """Train the rest of the present epoch, from the cursor on; yields after each chunk of steps."""
    chunk = Chunk(state)
    count = len(batches)
    if not state.model.training:  # visiting every module costs as much as a small step
        state.train_mode()
    source = shared_batches(state, batches, plan.accumulate)
    while state.cursor < count and not out_of_steps(state, plan):
        started = perf_counter()
        batch, scale, update = next(source)
        chunk.waited += perf_counter() - started

        lr = state.optimizer.param_groups[0]["lr"]
        loss, output = plan.step(state, batch, scale, update)
        chunk.add(loss, output, batch, lr, scale, update)

        state.cursor += 1
        if update:
            state.step += 1
            if state.schedule is not None and state.schedule.interval == "step":
                state.schedule.step()
        if state.cursor == count:
            next(source, None)  # the epoch of a source that is left before its end stops its workers
        if out_of_steps(state, plan) or state.cursor == count or chunk.is_due(plan, update):
            rows = chunk.read(plan.log_every)
            yield progress(state, count, rows)
            if not state.model.training:
                state.train_mode()
            chunk = Chunk(state)


def shared_batches(state: TrainState, batches: BatchSource, accumulate: int) -> Iterator[tuple[Batch, float, bool]]:
    """The batches from the cursor on, each with its share of the optimizer step, and whether it ends that step."""
    if accumulate == 1:
        return zip(batches.epoch(state.epoch, start=state.cursor), repeat(1.0), repeat(True))
    return accumulated_batches(state, batches, accumulate)


def accumulated_batches(
    state: TrainState, batches: BatchSource, accumulate: int
) -> Iterator[tuple[Batch, float, bool]]:
    """`shared_batches` where several batches make one optimizer step: that of the larger batch of them all.

    The share of a batch is its part of what the larger batch's loss is divided by. Where that is not the number of
    samples (weights, ignored targets), all batches of a step are fetched, and it is read back, before the first.
    """
    done = state.cursor % accumulate  # batches of the step that was begun
    begin = state.cursor - done
    source = batches.epoch(state.epoch, start=begin)
    for first in range(begin, len(batches), accumulate):
        sizes = [batches.sizes(i) for i in range(first, min(first + accumulate, len(batches)))]
        window = islice(source, len(sizes))
        fetched = [next(window)]
        weights: Sequence[float] = sizes
        denominator = denominator_of(state.loss, fetched[0])
        if state.loss.reduction == "mean" and (isinstance(denominator, Tensor) or denominator != sizes[0]):
            fetched += window
            weights = to_floats([denominator_of(state.loss, batch) for batch in fetched])
        total = sum(weights)
        for i, batch in enumerate(chain(fetched, window)):
            share = 1.0 if state.loss.reduction == "sum" else weights[i] / total if total else 0.0
            if i >= done:
                yield batch, share, i + 1 == len(sizes)
        done = 0
    next(source, None)


def train_metrics(state: TrainState) -> dict[str, float]:
    """The metrics of the unfinished epoch so far."""
    counts = state.sums.counts
    if counts is None:
        return {}
    return state.metric.train_result(torch.tensor(counts, dtype=torch.float64))


def progress(state: TrainState, batches: int, rows: list[StepRow]) -> Progress:
    """A `Progress` of where training stands."""
    sums = state.sums
    done = (state.epoch, state.cursor, batches, state.step)
    return Progress(*done, mean(sums.loss, sums.weight), sums.seconds, sums.samples, rows, state)


def end_epoch(state: TrainState, data: Mapping[str, BatchSource], plan: Plan) -> EpochRecord | None:
    """Evaluate if it is due, choose the best, step the schedule, start the next epoch. None if a stop came first."""
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
    state.train_seconds += sums.seconds
    state.eval_seconds += eval_seconds
    if not partial:
        schedule_epoch(state, row, plan)
        state.epoch, state.cursor, state.sums = state.epoch + 1, 0, EpochTotals()
    state.history.rows.append(row)
    return EpochRecord(row, is_best, evaluated, partial, seconds)


def reached(loss: float, plan: Plan) -> bool:
    """Is the training loss down to `trainer.stop_at_loss`?"""
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
    old, ranked = state.patience_value, not math.isnan(value)  # against a NaN, no value would count as better
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

"""Decide how long to train, when to evaluate and which epoch is best, including every `auto` of the trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from dlrun.config.config import Config
from dlrun.engine.state import Plan, Step, TrainState
from dlrun.errors import ConfigError, Problem, did_you_mean
from dlrun.objectives.declared import directions
from dlrun.plain import Values
from dlrun.spec import BatchSource, TaskMetric

MAX_STEP_ROWS = 10_000  # rows of steps.csv if log_every is auto
EVAL_SHARE = 0.1  # share of the time that evaluation may take if eval_every is auto
EVALUATIONS = 100  # the least number of evaluations of a run with as many epochs


def build_plan(config: Config, state: TrainState, batches: Mapping[str, BatchSource], step: Step, auto: Values) -> Plan:
    """Make the plan of a run. The values that are chosen for `auto` are added to `auto`."""
    trainer, checkpoint = config.trainer, config.checkpoint
    monitor, mode = choose_monitor(config, state.metric, batches)
    updates = math.ceil(len(batches["train"]) / trainer.accumulate)
    total = min(trainer.epochs * updates, trainer.max_steps or math.inf)
    every = trainer.eval_every
    if every == "auto":
        every = auto_eval_every(state.model, batches, trainer.epochs)
    log_every = trainer.log_every if trainer.log_every != "auto" else max(1, math.ceil(total / MAX_STEP_ROWS))
    auto |= {"trainer.eval_every": every, "trainer.log_every": log_every}
    auto |= {"checkpoint.monitor": monitor, "checkpoint.mode": mode}
    return Plan(
        step=step,
        epochs=trainer.epochs,
        max_steps=trainer.max_steps,
        accumulate=trainer.accumulate,
        eval_every=every,
        stop_at_loss=trainer.stop_at_loss,
        patience=trainer.early_stop.patience,
        min_delta=trainer.early_stop.min_delta,
        monitor=monitor,
        mode=mode,
        checkpoint_steps=checkpoint.every_steps,
        log_every=log_every,
    )


def choose_monitor(config: Config, metric: TaskMetric, batches: Mapping[str, BatchSource]) -> tuple[str, str]:
    """The metric that selects the best epoch, and `min` or `max`. Raises `ConfigError` if it cannot be used."""
    checkpoint = config.checkpoint
    part = next(part for part in ("val", "test", "train") if part in batches)
    monitor = f"{part}_loss" if checkpoint.monitor == "auto" else checkpoint.monitor
    names = {name: metric.train_names if name == "train" else metric.names for name in batches}
    known = [f"{name}_{value}" for name in batches for value in ("loss", *names[name])]
    if monitor not in known:
        hint = f"{did_you_mean(monitor, known)} Allowed: {', '.join(known)}.".strip()
        raise ConfigError(Problem("checkpoint.monitor", f"there is no metric {monitor!r}.", hint))
    if checkpoint.mode != "auto":
        return monitor, checkpoint.mode
    name = monitor.partition("_")[2]
    way = directions(metric).get(name)
    if way is None:
        hint = f"Write checkpoint.mode=min or max, or give its class `better = {{{name!r}: ...}}`."
        raise ConfigError(Problem("checkpoint.mode", f"the metric {name!r} does not say which way is better.", hint))
    return monitor, way


def auto_eval_every(model: nn.Module, batches: Mapping[str, BatchSource], epochs: int) -> int:
    """The number of epochs between evaluations with which they take about a tenth of the time.

    It is computed from sizes, not measured, so that it is the same on every machine. A run of few epochs is evaluated
    more often, so that its curves have enough points. The constants are times in microseconds, measured with small
    models on one core: a fixed time for each batch, and a time for each sample. A forward pass takes a third of a step,
    and half of that in the large batches of evaluation.
    """
    train, parts = batches["train"], [source for name, source in batches.items() if name != "train"]
    sample = sum(p.numel() for p in model.parameters()) / 10_000
    training = 600 * len(train) + 3 * sample * train.samples
    evaluating = sum(400 + 200 * len(source) + 0.5 * sample * source.samples for source in parts)
    every = math.ceil(evaluating / (EVAL_SHARE * training))
    return max(1, min(every, epochs // EVALUATIONS))

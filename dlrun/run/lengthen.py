"""Restore the learning-rate schedule of a resumed run, also where the run has another length now.

A schedule is made for a `Span` of the run. If the length has changed and the schedule depends on it, `--schedule` says
how it continues.
"""

from __future__ import annotations

import math

from dlrun.config.config import Config
from dlrun.engine.state import TrainState
from dlrun.errors import RunError, count_of
from dlrun.objectives.length import choose, depends_on_length
from dlrun.objectives.schedule import Schedule, Span, current_lr
from dlrun.objectives.without_dynamo import optimizer_state_dict
from dlrun.plain import Values
from dlrun.run.build import build_optimizer, build_schedule, schedule_epochs
from dlrun.run.context import Components

CHANGED = ("lr", "momentum", "betas")  # settings of a parameter group that a schedule changes
SMALLEST_SHARE = 1e-9  # of the first learning rate; a smaller rate trains nothing


def follow(values: Values, config: Config, components: Components, choice: str | None) -> list[str]:
    """Make the schedule of the checkpoint with these `values`. Returns lines for the screen on what has changed.

    If the run had another length and the schedule depends on it, `choice` says how the schedule continues: `stretch`,
    `hold` or `restart`. Raises `RunError` without a choice, and if a learning rate of 0 would be held.
    """
    schedule, saved = components.state.schedule, values.get("scheduler")
    if not isinstance(schedule, Schedule) or schedule.span is None or saved is None or schedule.interval == "metric":
        return []
    if not depends_on_length(config.scheduler.name, config.section("scheduler")):
        return []
    length, before = schedule.span.epochs, length_before(values, components)
    span = Span(**saved["span"]) if "span" in saved else Span(before)
    if before == length:
        if span != schedule.span:
            remake(components, span)
        return []
    if choice is None:
        lengths = f"which was {count_of(before, 'epoch')} and is {length}"
        what = f"the {config.scheduler.name} schedule depends on the length, {lengths}"
        raise RunError(f"{what}. {choose(f'trainer.epochs={config.trainer.epochs}')}")
    name = f"the {config.scheduler.name} schedule"
    if choice == "hold":
        rate = hold(components, span)
        return [f"{name} ends as planned, and its last rate stays (lr {rate:.3g})"]
    if choice == "restart":
        restart(values, components, length)
        return [f"{name} begins again, over what is left: {count_of(epochs_after(values, length), 'epoch')}"]
    stretch(values, components, Span(length - span.begin_epoch, span.begin_epoch, span.begin_step))
    return [f"{name} goes on as one of {count_of(length - span.begin_epoch, 'epoch')}, from where it stands"]


def updates_of(components: Components) -> int:
    """The number of optimizer steps in each epoch."""
    return math.ceil(len(components.batches["train"]) / components.plan.accumulate)


def length_before(values: Values, components: Components) -> int:
    """The length of the run in epochs according to the checkpoint."""
    trainer = (values.get("config") or {}).get("trainer") or {}
    now = components.config.trainer
    limits = trainer.get("epochs", now.epochs), trainer.get("max_steps", now.max_steps)
    return schedule_epochs(*limits, updates_of(components))


def epochs_after(values: Values, length: int) -> int:
    """The number of epochs from the checkpoint to the end of a run of this length, at least 1."""
    return max(1, length - int(values["epoch"]))


def remake(components: Components, span: Span) -> Schedule:
    """Make the schedule for a span of the run, at its beginning, with the learning rates of the configuration."""
    state, config = components.state, components.config
    fresh = build_optimizer(config, state.model)
    for group, new in zip(state.optimizer.param_groups, fresh.param_groups, strict=True):
        for key in [key for key in group if key not in new]:
            del group[key]  # added by the former schedule
        group |= {key: new[key] for key in CHANGED if key in new}
    schedule = build_schedule(config, state.optimizer, updates_of(components), span)
    assert schedule is not None
    if schedule.last is None:  # a user's schedule does not stop by itself
        schedule.last = span.epochs * (1 if schedule.interval == "epoch" else updates_of(components))
    state.schedule = schedule
    return schedule


def hold(components: Components, span: Span) -> float:
    """Let the schedule end as planned. Returns its last learning rate, which is held. Raises `RunError` if it is 0."""
    schedule = remake(components, span)
    first = max(float(group.get("initial_lr", group["lr"])) for group in components.state.optimizer.param_groups)
    advance(schedule, schedule.last or 0)
    rate = current_lr(components.state.optimizer)
    if rate <= SMALLEST_SHARE * first:
        raise RunError("--schedule hold: the schedule ends at a learning rate of 0. Use stretch or restart.")
    remake(components, span)
    return rate


def restart(values: Values, components: Components, length: int) -> None:
    """Start the schedule anew at the checkpoint, for the epochs up to `length`."""
    remake(components, Span(epochs_after(values, length), int(values["epoch"]), int(values["step"])))
    store(values, components.state)


def stretch(values: Values, components: Components, span: Span) -> None:
    """Make a schedule of another length, and advance it to the position of the checkpoint."""
    schedule = remake(components, span)
    by_epoch = schedule.interval == "epoch"
    advance(schedule, values["epoch"] - span.begin_epoch if by_epoch else values["step"] - span.begin_step)
    store(values, components.state)


def advance(schedule: Schedule, steps: int) -> None:
    for _ in range(steps):
        schedule.step()


def store(values: Values, state: TrainState) -> None:
    """Put the present schedule and learning rates into the checkpoint's values, and keep its moments."""
    values["optimizer"]["param_groups"] = optimizer_state_dict(state.optimizer)["param_groups"]
    values["scheduler"] = None if state.schedule is None else state.schedule.state_dict()

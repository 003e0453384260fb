"""What a schedule is to the engine: a scheduler of torch, and when to step it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlrun.spec import Interval, StateDict
from dlrun.torch_private import expect_no_step


@dataclass(frozen=True)
class Span:
    """The part of a run that a schedule was made for."""

    epochs: int  # its length
    begin_epoch: int = 0  # epochs and optimizer steps of the run before it began
    begin_step: int = 0


class Schedule:
    """A scheduler of torch that acts on every parameter group, and when to step it.

    `interval` says when `step` is due: after an `epoch`, after an optimizer `step`, or after an evaluation,
    with the monitored `metric`. `last` is the number of steps after which it rests (None: never): a cosine
    must not rise again. `auto_mode`: a plateau that waits to be told by `set_mode` which way is better.
    `span` is set by whoever makes the schedule for a run, and kept in checkpoints.
    """

    span: Span | None = None

    def __init__(
        self, scheduler: LRScheduler, interval: Interval, *, last: int | None = None, auto_mode: bool = False
    ) -> None:
        self.scheduler = scheduler
        self.interval = interval
        self.last = last
        self.auto_mode = auto_mode
        expect_no_step(scheduler.optimizer)

    def step(self, metric: float | None = None) -> None:
        """Set the next learning rate; `metric` is the value of the monitored metric, for the interval `metric`."""
        if self.interval == "metric":
            self.scheduler.step(metric)  # type: ignore[arg-type]
        elif self.last is None or self.scheduler.last_epoch < self.last:
            self.scheduler.step()

    def set_mode(self, mode: str) -> None:
        """Tell a plateau of `mode: auto`, before its first step, if less or more is better (min, max)."""
        if self.auto_mode:
            worst = math.inf if mode == "min" else -math.inf
            self.scheduler.load_state_dict({"mode": mode, "best": worst})

    def state_dict(self) -> StateDict:
        """The scheduler's state as plain Python, without milestones: configuration, which torch keeps as a Counter."""
        state = self.scheduler.state_dict()
        span = {} if self.span is None else {"span": dict(vars(self.span))}
        return {key: value for key, value in state.items() if key != "milestones"} | span

    def load_state_dict(self, state: StateDict) -> None:
        """Go on where `state_dict` was taken; the optimizer's own state holds the rates."""
        self.scheduler.load_state_dict({key: value for key, value in state.items() if key != "span"})


def current_lr(optimizer: Optimizer) -> float:
    """The learning rate of the first group: the one that `optimizer.lr` set, unless `groups` cover all."""
    return float(optimizer.param_groups[0]["lr"])

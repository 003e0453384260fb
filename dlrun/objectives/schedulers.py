"""Learning-rate schedules from torch.optim, by name. All act on every parameter group (trap T02).

Each function is handed the optimizer, the epochs of the run and the optimizer steps of an epoch, and returns
a `Schedule`: what to step, and when. Epochs are counted from 0, so `first_epoch: 5` leaves five epochs at the
first rate. Where a schedule has a peak or a start, that is each group's own `lr`. A schedule that is over
keeps its last rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules

from dlrun.errors import ConfigError, Problem
from dlrun.objectives.schedule import Schedule

Unit = Literal["epoch", "step"]


def none(optimizer: Optimizer, *, epochs: int, steps_per_epoch: int) -> None:
    """No schedule: every rate stays as it is."""


class _StepFrom(torch_schedules.StepLR):
    """StepLR with an explicit first decay; from the first epoch on when that is asked for (trap T01)."""

    def __init__(self, optimizer: Optimizer, first_epoch: int, step_size: int, gamma: float) -> None:
        self.first_epoch = first_epoch
        super().__init__(optimizer, step_size, gamma)

    def get_lr(self) -> list[Any]:
        past = self.last_epoch - self.first_epoch
        factor = self.gamma if past >= 0 and past % self.step_size == 0 else 1.0
        return [group["lr"] * factor for group in self.optimizer.param_groups]


def step(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    step_size: int = 5,
    first_epoch: int | None = None,
    gamma: float = 0.1,
) -> Schedule:
    """lr x gamma before epoch `first_epoch` (None: `step_size`) and every `step_size` epochs after it."""
    first = step_size if first_epoch is None else first_epoch
    return Schedule(_StepFrom(optimizer, first, step_size, gamma), "epoch")


def multistep(
    optimizer: Optimizer, *, epochs: int, steps_per_epoch: int, milestones: Sequence[int] = (5, 8), gamma: float = 0.1
) -> Schedule:
    """lr x gamma before each of the epochs `milestones` (0 = the first epoch, if it is listed)."""
    return Schedule(torch_schedules.MultiStepLR(optimizer, list(milestones), gamma), "epoch")


def exponential(optimizer: Optimizer, *, epochs: int, steps_per_epoch: int, gamma: float = 0.95) -> Schedule:
    """lr x gamma after every epoch."""
    return Schedule(torch_schedules.ExponentialLR(optimizer, gamma), "epoch")


def cosine(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    eta_min: float = 0.0,
    interval: Unit = "epoch",
    total_epochs: int | None = None,
) -> Schedule:
    """Half a cosine down to `eta_min`: Loshchilov & Hutter, https://arxiv.org/abs/1608.03983."""
    total = _length(interval, total_epochs or epochs, steps_per_epoch)
    return Schedule(torch_schedules.CosineAnnealingLR(optimizer, total, eta_min), interval, last=total)


class _WarmupCosine:
    """The factor of step n: a line from `start` to 1 over `warmup` steps, then half a cosine to `end`."""

    def __init__(self, warmup: int, total: int, start: float, end: float) -> None:
        self.warmup, self.total, self.start, self.end = warmup, total, start, end

    def __call__(self, n: int) -> float:
        if n < self.warmup:
            return self.start + (1.0 - self.start) * n / self.warmup
        share = min(1.0, (n - self.warmup) / max(1, self.total - self.warmup))
        return self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * share)) / 2.0


def warmup_cosine(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 1.0,
    start_factor: float = 0.01,
    end_factor: float = 0.0,
    total_epochs: int | None = None,
) -> Schedule:
    """From lr x start_factor up to lr in a line, then a cosine down to lr x end_factor, step by step.

    A run that is no longer than its warm-up (a smoke test, say) ends on the way up.
    Linear warm-up: Goyal et al., https://arxiv.org/abs/1706.02677, section 2.2.
    """
    total = _length("step", total_epochs or epochs, steps_per_epoch)
    warmup = round(warmup_epochs * steps_per_epoch)
    factor = _WarmupCosine(warmup, total, start_factor, end_factor)
    return Schedule(torch_schedules.LambdaLR(optimizer, factor), "step", last=total)


def linear(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    start_factor: float = 1.0,
    end_factor: float = 0.0,
    interval: Unit = "epoch",
    total_epochs: int | None = None,
) -> Schedule:
    """A line from lr x start_factor to lr x end_factor."""
    total = _length(interval, total_epochs or epochs, steps_per_epoch)
    line = torch_schedules.LinearLR(optimizer, start_factor, end_factor, total)
    return Schedule(line, interval, last=total)


def polynomial(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    power: float = 2.0,
    interval: Unit = "epoch",
    total_epochs: int | None = None,
) -> Schedule:
    """lr x (1 - t)^power, with t the share of the run that is done."""
    total = _length(interval, total_epochs or epochs, steps_per_epoch)
    return Schedule(torch_schedules.PolynomialLR(optimizer, total, power), interval, last=total)


def onecycle(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    pct_start: float = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
    cycle_momentum: bool | Literal["auto"] = "auto",
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    total_epochs: int | None = None,
) -> Schedule:
    """Up from lr / div_factor to lr and far down, step by step: Smith & Topin, https://arxiv.org/abs/1708.07120."""
    total = _length("step", total_epochs or epochs, steps_per_epoch)
    if three_phase and pct_start >= 0.5:
        what = f"{pct_start:g} leaves no third phase: two of them take that share each."
        raise ConfigError(Problem("scheduler.pct_start", what, "Give less than 0.5."))
    if math.isclose(pct_start * total, 1.0):
        pct_start *= 1 + 1e-9  # torch divides by pct_start x total - 1, the first phase's last step
    cycle = torch_schedules.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        pct_start=float(pct_start),
        anneal_strategy=anneal,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
        cycle_momentum=_cycles_momentum(optimizer, cycle_momentum),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )
    return Schedule(cycle, "step", last=total - 1)


def cyclic(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    base_factor: float = 0.1,
    epochs_up: float = 2.0,
    epochs_down: float | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
    cycle_momentum: bool | Literal["auto"] = "auto",
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> Schedule:
    """Between lr x base_factor and lr, up and down, step by step: Smith, https://arxiv.org/abs/1506.01186."""
    up = max(1, round(epochs_up * steps_per_epoch))
    peaks = [group["lr"] for group in optimizer.param_groups]
    cycle = torch_schedules.CyclicLR(
        optimizer,
        base_lr=[peak * base_factor for peak in peaks],
        max_lr=peaks,
        step_size_up=up,
        step_size_down=up if epochs_down is None else max(1, round(epochs_down * steps_per_epoch)),
        mode=mode,
        gamma=gamma,
        cycle_momentum=_cycles_momentum(optimizer, cycle_momentum),
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )
    return Schedule(cycle, "step")


def plateau(
    optimizer: Optimizer,
    *,
    epochs: int,
    steps_per_epoch: int,
    mode: Literal["min", "max", "auto"] = "auto",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
) -> Schedule:
    """lr x factor when the monitored metric has not improved for more than `patience` evaluations.

    With `mode="auto"`, less is better until `Schedule.set_mode` says otherwise.
    """
    scheduler = torch_schedules.ReduceLROnPlateau(
        optimizer,
        mode="min" if mode == "auto" else mode,
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_lr=min_lr,
    )
    return Schedule(scheduler, "metric", auto_mode=mode == "auto")


def _length(interval: str, epochs: int, steps_per_epoch: int) -> int:
    """Steps of a schedule that goes by epochs or by optimizer steps."""
    return epochs if interval == "epoch" else epochs * steps_per_epoch


def _cycles_momentum(optimizer: Optimizer, asked: bool | str) -> bool:
    """`auto`: yes where every group has betas, or a momentum above 0. Raises `ConfigError` if none can."""
    groups = optimizer.param_groups
    if asked == "auto":
        return all("betas" in group or group.get("momentum", 0) > 0 for group in groups)
    if asked and not any(key in optimizer.defaults for key in ("momentum", "betas")):
        what = f"{type(optimizer).__name__} has no momentum to cycle."
        raise ConfigError(Problem("scheduler.cycle_momentum", what, "Use auto or false."))
    return bool(asked)

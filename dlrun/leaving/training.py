"""Loss, optimizer and schedule of a run as lines of torch."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass

from torch.optim import Optimizer, lr_scheduler

from dlrun.components.registry import OPTIMIZERS, SCHEDULERS
from dlrun.config.config import Config
from dlrun.engine.state import TrainState
from dlrun.leaving.layout import call_of, quoted, statement
from dlrun.objectives.schedule import Schedule

LOSSES = {  # by dlrun's names
    "cross_entropy": "cross_entropy",
    "nll": "nll_loss",
    "mse": "mse_loss",
    "mae": "l1_loss",
    "huber": "huber_loss",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy_with_logits",
}


def loss_text(config: Config, name: str) -> str:
    """The arguments and the call, `F.cross_entropy(OUTPUT, target)`."""
    smoothing, delta = config.get("loss.label_smoothing"), config.get("loss.delta")
    settings = f", label_smoothing={smoothing}" if smoothing else f", delta={delta}" if delta not in (None, 1) else ""
    return f"F.{LOSSES[name]}(OUTPUT, target{settings})"


def optimizer_text(config: Config, optimizer: Optimizer) -> str:
    """The paper as a comment, and the optimizer with the settings that differ from torch's."""
    kind = type(optimizer)
    parameters = inspect.signature(kind).parameters
    found = {key: optimizer.defaults[key] for key in parameters if key in optimizer.defaults}
    settings = {key: value for key, value in found.items() if key == "lr" or value != parameters[key].default}
    words = {key: quoted(value) if isinstance(value, str) else value for key, value in settings.items()}
    made = statement("optimizer", call_of(f"torch.optim.{kind.__name__}", "model.parameters()", **words))
    return f"    # {paper(inspect.getdoc(OPTIMIZERS.get(config.optimizer.name)))}\n{made}"


def paper(doc: str | None) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((doc or "").split("\n\n")[0].split())


@dataclass(frozen=True)
class ScheduleText:
    """How a schedule is written: its lines, when it is stepped, and a function that they call."""

    made: str = ""
    interval: str = ""  # epoch, step, metric, or none
    last: int | None = None  # steps after which the last rate stays, where more would be asked for
    factor: tuple[int, int, float, float] | None = None  # of a warm-up: steps, all steps, first and last factor


def schedule_text(config: Config, state: TrainState) -> ScheduleText:
    """The schedule of a run; with `none`, nothing."""
    schedule = state.schedule
    if not isinstance(schedule, Schedule):
        return ScheduleText()
    made = schedule.scheduler
    name, settings = type(made).__name__, schedule_settings(config, made)
    factor = None
    if isinstance(made, lr_scheduler.LambdaLR):
        curve = vars(made.lr_lambdas[0])
        factor = (curve["warmup"], curve["total"], curve["start"], curve["end"])
        settings = {"lr_lambda": "lr_factor"}
    elif config.scheduler.name == "step":
        first = config.scheduler.first_epoch
        name = "StepLR"
        if first not in (None, config.scheduler.step_size):
            name = "MultiStepLR"
            settings = {"milestones": f"range({first}, EPOCHS, {config.scheduler.step_size})", **settings}
            del settings["step_size"]
    line = statement("scheduler", call_of(f"lr_scheduler.{name}", "optimizer", **settings))
    doc = paper(inspect.getdoc(SCHEDULERS.get(config.scheduler.name)))
    ends = config.get("scheduler.total_epochs") is not None or config.scheduler.name == "onecycle"
    return ScheduleText(f"    # {doc}\n{line}", schedule.interval, schedule.last if ends else None, factor)


def schedule_settings(config: Config, made: lr_scheduler.LRScheduler) -> dict[str, object]:
    """The keyword arguments of torch's class, without those that are its defaults."""
    section, lr = config.section("scheduler"), config.optimizer.lr
    found: dict[str, object] = {key: value for key, value in section.items() if key not in ("name", "total_epochs")}
    if isinstance(made, lr_scheduler.CosineAnnealingLR):
        found["T_max"] = made.T_max
    elif isinstance(made, lr_scheduler.LinearLR | lr_scheduler.PolynomialLR):
        found["total_iters"] = made.total_iters
    elif isinstance(made, lr_scheduler.OneCycleLR):
        found |= {"max_lr": lr, "total_steps": made.total_steps, "anneal_strategy": found["anneal"]}
        found["cycle_momentum"] = made.cycle_momentum
        if math.isclose(section["pct_start"] * made.total_steps, 1.0):
            found["pct_start"] = section["pct_start"] * (1 + 1e-9)  # torch divides by pct_start x total_steps - 1
    elif isinstance(made, lr_scheduler.CyclicLR):
        found |= {"base_lr": lr * section["base_factor"], "max_lr": lr, "cycle_momentum": made.cycle_momentum}
        up = round(made.total_size * made.step_ratio)
        found |= {"step_size_up": up, "step_size_down": round(made.total_size) - up}
    elif isinstance(made, lr_scheduler.ReduceLROnPlateau):
        found["mode"] = made.mode
    parameters = inspect.signature(type(made)).parameters
    if config.scheduler.name == "step":
        parameters = inspect.signature(lr_scheduler.StepLR).parameters
    kept = {key: found[key] for key in parameters if key in found and found[key] != parameters[key].default}
    return {key: quoted(value) if isinstance(value, str) else value for key, value in kept.items()}

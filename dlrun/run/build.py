"""Build all components of a run from a configuration, and check them before anything is written."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dlrun.assembly.assemble import Assembly, a_type, arguments, assemble
from dlrun.assembly.blame import explained
from dlrun.components.registry import OPTIMIZERS, SCHEDULERS
from dlrun.components.signature import accepted
from dlrun.config.config import Config
from dlrun.data.base import Data, Split
from dlrun.data.batches import batches_for
from dlrun.data.seeds import derive
from dlrun.engine.choose import choose_step
from dlrun.engine.device import choose_device, make_current, seed_everything
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.state import TrainState
from dlrun.engine.threads import auto_threads
from dlrun.errors import ConfigError, Problem
from dlrun.objectives.groups import Trainable
from dlrun.objectives.schedule import Schedule, Span
from dlrun.plain import Values
from dlrun.run.context import Components
from dlrun.run.planning import build_plan
from dlrun.run.preflight import check_run
from dlrun.spec import BatchSource


def build(config: Config, threads: int | None = None) -> Components:
    """Build data, model, loss, optimizer, schedule, step and plan, and check them.

    Torch's number of threads is set; for `device.threads=auto` it is `threads`, that of a run which is repeated or
    resumed, or else chosen. Raises `ConfigError` or `DataError`, and `TrainingFailed` for an exception in a user's
    component.
    """
    with explained(config):
        device = choose_device(config.device.name)
        make_current(device)
        assembly = assemble(config)
        batches, notes = build_batches(config, assembly.data, device)
        test = batches.pop("test", None) if "val" in batches else None
        check_run(assembly, batches)
        auto: Values = {"device": str(device), "loss": assembly.loss_name}
        if device.type == "cpu":
            auto["device.threads"] = set_threads(assembly, batches["train"].batch_size, threads)
        state = build_state(assembly, device, len(batches["train"]))
        trainer = config.trainer
        options = StepOptions(batches["train"], trainer.clip_norm, config.device.precision, trainer.accumulate)
        fast = config.device.fast and not trainer.detect_anomaly
        step, engine = choose_step(state, options, fast=fast, compile=config.device.compile)
        plan = build_plan(config, state, batches, step, auto)
        if state.schedule is not None:
            state.schedule.set_mode(plan.mode)
        seed_everything(derive(config.seed, "noise"))
        kind = "resident" if batches["train"].resident else "dataloader"
        notes = [*assembly.data.notes, *notes, *untrained(assembly)]
        return Components(config, assembly.data, state, plan, batches, test, [kind, *engine], auto, notes)


def set_threads(assembly: Assembly, batch_size: int, chosen: int | None) -> int:
    """Set torch's number of threads as configured, `auto` being the `chosen` one or the rule's. Returns the number."""
    threads = assembly.config.device.threads
    if threads == "auto":
        threads = chosen or auto_threads(assembly.model, assembly.example.inputs, batch_size)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def untrained(assembly: Assembly) -> list[str]:
    """A note on a loss with parameters that require gradients, which are not given to the optimizer."""
    own = [key for key, p in assembly.loss.named_parameters() if p.requires_grad]
    names = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "")
    what = f"loss {assembly.loss_name} has parameters of its own ({names})"
    return [f"{what}, which nothing trains: they belong in the model, or want requires_grad_(False)"] if own else []


def build_batches(config: Config, data: Data, device: torch.device) -> tuple[dict[str, BatchSource], list[str]]:
    """Make the batches of each part. Returns them with notes on how they are read."""
    trainer = config.trainer
    size = data.train.samples if trainer.batch_size == "full" else min(trainer.batch_size, data.train.samples)
    notes: list[str] = []
    options = {"seed": config.seed, "device": device, "max_batches": trainer.max_batches, "loading": data.loading}
    made: dict[str, BatchSource] = {}
    for name, part in data.parts().items():
        training = name == "train"
        made[name], note = batches_for(
            part,
            data.spec,
            batch_size=size if training or trainer.max_batches else max(size, eval_size(part)),
            shuffle=trainer.shuffle and training,
            overfit=trainer.overfit and training,
            **options,
        )
        notes += [note] if note else []
    if trainer.overfit:
        made = {"train": made["train"]}
    return made, notes


def eval_size(part: Split) -> int:
    """The batch size for evaluation: at most 1024, and about four million numbers."""
    numbers = sum(math.prod(tensor.shape[1:]) for tensor in part.inputs) or 4096
    return max(1, min(1024, 4_000_000 // max(1, numbers)))


def build_state(assembly: Assembly, device: torch.device, steps_per_epoch: int) -> TrainState:
    """Move the model to the device, and build what else changes during training."""
    config, model = assembly.config, assembly.model.to(device)
    optimizer = build_optimizer(config, model)
    updates = math.ceil(steps_per_epoch / config.trainer.accumulate)
    span = Span(schedule_epochs(config.trainer.epochs, config.trainer.max_steps, updates))
    return TrainState(
        model=model,
        loss=assembly.loss.to(device),
        metric=assembly.metric,
        optimizer=optimizer,
        spec=assembly.data.spec,
        device=device,
        schedule=build_schedule(config, optimizer, updates, span),
        scaler=torch.amp.GradScaler(device.type) if config.device.precision == "fp16" else None,
        frozen=assembly.frozen,
    )


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of a model."""
    make = OPTIMIZERS.get(config.optimizer.name)
    optimizer = make(Trainable(model), **arguments(config, "optimizer"))
    if not isinstance(optimizer, torch.optim.Optimizer):
        what = f"{config.optimizer.name} returned {a_type(optimizer)}, not a torch.optim.Optimizer."
        raise ConfigError(Problem("optimizer", what))
    return optimizer


def schedule_epochs(epochs: int, max_steps: int | None, updates: int) -> int:
    """The number of epochs that a schedule of the whole run spans; `updates` is the number of steps in each."""
    return epochs if max_steps is None else min(epochs, math.ceil(max_steps / updates))


def build_schedule(config: Config, optimizer: torch.optim.Optimizer, updates: int, span: Span) -> Schedule | None:
    """Build the learning-rate schedule for a span of the run, or None; `updates` is the number of steps in an epoch."""
    make = SCHEDULERS.get(config.scheduler.name)
    passed = accepted(make, {"epochs": span.epochs, "steps_per_epoch": updates})  # the classes of torch take neither
    made = make(optimizer, **passed, **arguments(config, "scheduler"))
    if made is None:
        return None
    if isinstance(made, LRScheduler):
        made = Schedule(made, "metric" if isinstance(made, ReduceLROnPlateau) else "epoch")
    if not isinstance(made, Schedule):
        what = f"{config.scheduler.name} returned {a_type(made)}, not a dlrun.Schedule."
        raise ConfigError(Problem("scheduler", what, "Return one, a scheduler of torch.optim.lr_scheduler, or None."))
    made.span = span
    return made

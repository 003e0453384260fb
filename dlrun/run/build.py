"""From a checked configuration to the components of a run: the only place that unpacks the configuration.

Everything that can be known to be wrong is found here, before the first step and before anything is written.
"""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.components.registry import DATASETS, LOSSES, METRICS, MODELS, OPTIMIZERS, SCHEDULERS
from dlrun.config.config import Config
from dlrun.data.base import Data, Split, check_targets
from dlrun.data.batches import batches_for
from dlrun.data.paths import data_root
from dlrun.data.seeds import derive
from dlrun.engine.choose import choose_step
from dlrun.engine.device import choose_device, make_current, seed_everything, set_up
from dlrun.engine.evaluation import eval_mode
from dlrun.engine.fast.rules import StepOptions
from dlrun.engine.state import TrainState
from dlrun.errors import ConfigError, DlrunError, Problem, first_line
from dlrun.objectives.groups import Trainable
from dlrun.objectives.losses import loss_for
from dlrun.objectives.metrics import MetricCollection, metric_for
from dlrun.run.context import Components
from dlrun.run.failure import before_training
from dlrun.run.planning import build_plan
from dlrun.run.weights import freeze
from dlrun.spec import BatchSource, Loss


def build(config: Config) -> Components:
    """Data, model, loss, optimizer, schedule and plan.

    Raises `ConfigError` or `DataError`, and `TrainingFailed` for an exception in a user's component.
    """
    try:
        return build_all(config)
    except (Exception, SystemExit) as error:
        said = before_training(error, config)
        if said is error:
            raise
        raise said from error


def build_all(config: Config) -> Components:
    """`build`, its exceptions as they come."""
    check_logger(config)
    set_up(threads=config.device.threads, deterministic=config.device.deterministic)
    device = choose_device(config.device.name)
    make_current(device)
    data = build_data(config)
    loss_name, loss = build_loss(config, data)
    data = fit_to_loss(data, loss_name)
    check_targets(data, getattr(loss, "ignore_index", None))
    model = build_model(config, data)
    batches, notes = build_batches(config, data, device)
    auto = {"device": str(device), "loss": loss_name}
    check_shapes(config, model, loss, batches["train"])  # lazy modules of a user's get their shapes here
    frozen = freeze(model, config.freeze)
    check_batch_norm(model, batches["train"])
    model.to(device)
    loss.to(device)
    state = TrainState(
        model=model,
        loss=loss,
        metric=build_metric(data, loss),
        optimizer=build_optimizer(config, model),
        spec=data.spec,
        device=device,
        scaler=torch.amp.GradScaler(device.type) if config.device.precision == "fp16" else None,
        frozen=frozen,
    )
    state.schedule = build_schedule(config, state, len(batches["train"]))
    test = batches.pop("test", None) if "val" in batches else None
    trainer = config.trainer
    options = StepOptions(batches["train"], trainer.clip_norm, config.device.precision, trainer.accumulate)
    fast = config.device.fast and not trainer.detect_anomaly
    step, engine = choose_step(state, options, fast=fast, compile=compiles(config))
    plan = build_plan(config, state, batches, step, auto)
    if state.schedule is not None:
        state.schedule.set_mode(plan.mode)
    seed_everything(derive(config.seed, "noise"))
    kind = "resident" if batches["train"].resident else "dataloader"
    notes += untrained(loss_name, loss)
    return Components(config, data, state, plan, batches, test, [kind, *engine], auto, [*data.notes, *notes])


def untrained(name: str, loss: Loss) -> list[str]:
    """A note on a loss with parameters that learn, which no optimizer is given."""
    own = [key for key, p in loss.named_parameters() if p.requires_grad] if isinstance(loss, nn.Module) else []
    what = f"loss {name} has parameters of its own ({', '.join(own[:3])}{', ...' if len(own) > 3 else ''})"
    return [f"{what}, which nothing trains: they belong in the model, or want requires_grad_(False)"] if own else []


def compiles(config: Config) -> bool:
    """Is the step to be compiled? Raises `ConfigError` where something else asks for each operation by itself."""
    if config.device.compile and config.trainer.detect_anomaly:
        what = "trainer.detect_anomaly looks at each operation, and a compiled step has none of its own."
        raise ConfigError(Problem("device.compile", what, "Use device.compile=false."))
    return config.device.compile


def check_logger(config: Config) -> None:
    """A logger whose package is not there is found before a directory is made."""
    if config.logger.name == "tensorboard" and find_spec("tensorboard") is None:
        what = "tensorboard is not installed."
        raise ConfigError(Problem("logger", what, "Run `pip install tensorboard`."))


def arguments(config: Config, group: str) -> dict[str, Any]:
    """A component's keyword arguments: its section without the name."""
    section = config.section(group)
    section.pop("name")
    return section


def build_data(config: Config) -> Data:
    """The data set, with its parts. Raises `DataError`."""
    options = arguments(config, "dataset")
    make = DATASETS.get(config.dataset.name)
    if "root" in inspect.signature(make).parameters:  # a user's data set may have no use for it
        options["root"] = data_root(options.get("root"))
    data = make(seed=config.seed, **options)
    if not isinstance(data, Data):
        what = f"the dataset function returned a {type(data).__name__}, not a dlrun.Data."
        raise ConfigError(Problem("dataset", what))
    return data


def build_loss(config: Config, data: Data) -> tuple[str, Any]:
    """The loss by name, or the one that the data's task asks for."""
    name = config.loss.name
    if name == "auto":
        name = loss_for(data.spec)
    make = LOSSES.get(name)
    options = arguments(config, "loss")
    if "class_counts" in inspect.signature(make).parameters:
        options["class_counts"] = class_counts(data)
    return name, make(**options)


def class_counts(data: Data) -> list[int] | None:
    """Rows of each class in the training part (None where there are no classes)."""
    target = data.train.target
    if data.spec.task != "classification" or target.is_floating_point():
        return None
    return torch.bincount(target.long(), minlength=len(data.spec.labels)).tolist()


def fit_to_loss(data: Data, loss_name: str) -> Data:
    """Two classes under a binary loss are one output and a target (N, 1) of 0 and 1."""
    spec = data.spec
    if spec.task != "classification" or not LOSSES.known(loss_name).binary or spec.num_outputs == 1:
        return data
    if spec.num_outputs != 2:
        what = f"{loss_name} wants two classes, and {spec.name} has {spec.num_outputs}."
        raise ConfigError(Problem("loss", what, "Did you mean loss=cross_entropy?"))
    parts: dict[str, Any] = {name: one_column(part) for name, part in data.parts().items()}
    return replace(data, spec=spec.replace(num_outputs=1), **parts)


def one_column(part: Split) -> Split:
    return part if part.dataset is not None else replace(part, target=part.target.float().reshape(-1, 1))


def build_model(config: Config, data: Data) -> nn.Module:
    """The model, its initial weights drawn from their own stream."""
    seed_everything(derive(config.seed, "weights"))
    model = MODELS.get(config.model.name)(data.spec, **arguments(config, "model"))
    if not isinstance(model, nn.Module):
        what = f"{config.model.name} returned a {type(model).__name__}, not a torch.nn.Module."
        raise ConfigError(Problem("model", what))
    return model


def build_batches(config: Config, data: Data, device: torch.device) -> tuple[dict[str, BatchSource], list[str]]:
    """Batches of every part, and notes on how they are read."""
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
    """Samples a batch in evaluation: large, but no more than about four million numbers."""
    numbers = sum(math.prod(tensor.shape[1:]) for tensor in part.inputs) or 4096
    return max(1, min(1024, 4_000_000 // max(1, numbers)))


def build_metric(data: Data, loss: Loss) -> Any:
    """The metric of the data's task, and beside it those that plug-ins registered."""
    metric = METRICS.get(metric_for(data.spec))(data.spec, loss)
    users = [make(data.spec, loss) for make in METRICS.plugins.values()]
    return MetricCollection(metric, users) if users else metric


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over the parameters that learn, in their groups."""
    return OPTIMIZERS.get(config.optimizer.name)(Trainable(model), **arguments(config, "optimizer"))


def build_schedule(config: Config, state: TrainState, steps_per_epoch: int) -> Any:
    """The learning-rate schedule, or None."""
    trainer = config.trainer
    updates = math.ceil(steps_per_epoch / trainer.accumulate)
    epochs = trainer.epochs
    if trainer.max_steps is not None:
        epochs = min(epochs, math.ceil(trainer.max_steps / updates))
    make = SCHEDULERS.get(config.scheduler.name)
    return make(state.optimizer, epochs=epochs, steps_per_epoch=updates, **arguments(config, "scheduler"))


def check_shapes(config: Config, model: nn.Module, loss: Loss, batches: BatchSource) -> None:
    """One batch through model and loss, in eval mode, without gradients: shapes that do not fit are found here."""
    batch = next(iter(batches.epoch(0)))
    device = next(model.parameters(), torch.zeros(1)).device
    inputs, target = [x.to(device)[:2] for x in batch.inputs], batch.target.to(device)[:2]
    try:
        with eval_mode(model), torch.no_grad():
            output = model(*inputs)
            if not isinstance(output, Tensor):
                raise ValueError(f"the model returned a {type(output).__name__}, not a tensor")
            loss.check(output, target)
            if config.loss.name in LOSSES.plugins:
                check_loss(config, loss, output, target)
    except DlrunError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        if config.model.name in MODELS.plugins or config.loss.name in LOSSES.plugins:
            raise
        given = ", ".join(str(tuple(x.shape[1:])) for x in inputs)
        reason = first_line(error) or type(error).__name__
        what = f"{config.model.name} cannot take this data ({config.dataset.name}: {given} a sample): {reason}."
        raise ConfigError(Problem("model", what)) from error


def check_loss(config: Config, loss: Loss, output: Tensor, target: Tensor) -> None:
    """A loss of the user's must be one number. A copy is asked, since it may count; if it fails, training will say."""
    try:
        shape = tuple(copy.deepcopy(loss)(output, target.clone()).shape)
    except Exception:
        return
    if shape:
        what = f"{config.loss.name} gives a tensor of shape {shape}, not one number."
        raise ConfigError(Problem("loss", what, "Return loss.mean() or loss.sum()."))


def check_batch_norm(model: nn.Module, batches: BatchSource) -> None:
    """A batch of one row has no variance: refuse the batch size that leaves one for BatchNorm1d to train on."""
    if batches.sizes(len(batches) - 1) != 1:
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm1d) and any(p.requires_grad for p in module.parameters()):
            last = f"{batches.samples} samples in batches of {batches.batch_size} end with a batch of one"
            what = f"{last}, which batch norm ({name}) cannot train on."
            raise ConfigError(Problem("trainer.batch_size", what, "Choose one that leaves more."))

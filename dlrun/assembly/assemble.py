"""Build data, model, loss and metric from a configuration, as `summary` and every use of a model need them.

Optimizer, schedule and step are built in build.py, and most checks are made in preflight.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from dlrun.assembly.blame import explained
from dlrun.assembly.weights import freeze
from dlrun.components.registry import DATASETS, LOSSES, METRICS, MODELS
from dlrun.components.signature import is_plain_function
from dlrun.config.config import Config
from dlrun.data.base import Data, Loading, check_targets
from dlrun.data.batches import batches_for
from dlrun.data.own import from_arrays, from_dataset
from dlrun.data.paths import data_root
from dlrun.data.seeds import derive
from dlrun.data.transforms import Preparation
from dlrun.engine.device import seed_everything, set_up
from dlrun.engine.evaluation import eval_mode
from dlrun.engine.threads import threads_of
from dlrun.errors import ConfigError, Problem, first_line
from dlrun.objectives.collection import MetricCollection
from dlrun.objectives.loss import CallableLoss, Loss
from dlrun.objectives.losses import loss_for
from dlrun.objectives.metrics import metric_for
from dlrun.plain import Values
from dlrun.spec import Batch, DataSpec, TaskMetric

EXAMPLE_ROWS = 2  # one row would not reveal a model that drops the batch dimension
TEXTS = 64  # rows that are read for an example of texts, which is padded to their length


@dataclass(frozen=True)
class Assembly:
    """Data, model, loss and metric, on the CPU."""

    config: Config
    data: Data
    model: nn.Module  # with its initial weights
    loss: Loss
    loss_name: str  # what `loss=auto` became
    metric: TaskMetric
    frozen: tuple[nn.Module, ...]  # modules of the model whose weights are all frozen
    example: Batch  # the first `EXAMPLE_ROWS` rows of the training part


def assemble(config: Config) -> Assembly:
    """Build data, model, loss and metric.

    This is done in one thread, so that data and weights do not depend on `device.threads` (null: as torch chooses).
    Raises `ConfigError` or `DataError`, and `TrainingFailed` for an exception in a user's component.
    """
    with explained(config), threads_of(None if config.device.threads is None else 1):
        set_up(deterministic=config.device.deterministic)
        data = build_data(config)
        loss_name, loss = build_loss(config, data.spec, class_counts(data))
        data = fit_to_loss(data, loss_name)
        check_targets(data, getattr(loss, "ignore_index", None))  # a user's loss may have none
        example = first_rows(data)
        data = check_weights(data, loss_name, loss)
        model = build_model(config, data.spec)
        materialize(config, model, example)
        metric = build_metric(data.spec, loss)
        return Assembly(config, data, model, loss, loss_name, metric, freeze(model, config.freeze), example)


def arguments(config: Config, group: str) -> Values:
    """A component's keyword arguments: its section without the name."""
    section = config.section(group)
    section.pop("name")
    return section


def build_data(config: Config) -> Data:
    """Build the data set. Raises `DataError`."""
    options = arguments(config, "dataset")
    make = DATASETS.get(config.dataset.name)
    accepted = inspect.signature(make).parameters  # a user's data set may take neither root nor seed
    if "root" in accepted:
        options["root"] = data_root(options.get("root"))
    if "seed" in accepted or any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        options["seed"] = config.seed
    data = make(**options)
    if isinstance(data, tuple) and len(data) == 2:  # (inputs, target), as scikit-learn's loaders return them
        return from_arrays(*data, seed=config.seed, name=config.dataset.name)
    if isinstance(data, Dataset):
        return from_dataset(data, seed=config.seed, name=config.dataset.name)
    if not isinstance(data, Data):
        what = f"{config.dataset.name} returned {a_type(data)}, not a dlrun.Data."
        hint = "Return dlrun.from_arrays(x, y, seed=seed), dlrun.from_frame(frame, target), (x, y) or a Dataset."
        raise ConfigError(Problem("dataset", what, hint))
    return data


def build_loss(config: Config, spec: DataSpec, counts: list[float] | None) -> tuple[str, Loss]:
    """Build the loss of that name, or for `auto` that of the task. Returns its name and the loss.

    `counts` are the rows of each class in the training part.
    """
    name = config.loss.name
    if name == "auto":
        name = loss_for(spec)
    make = LOSSES.get(name)
    options = arguments(config, "loss")
    if "class_counts" in inspect.signature(make).parameters:
        options["class_counts"] = counts
    made = partial(make, **options) if is_plain_function("loss", make) else make(**options)
    if isinstance(made, Loss):
        return name, made
    if not callable(made):
        what = f"{name} returned {a_type(made)}, not a loss: a callable of output and target that returns one number."
        raise ConfigError(Problem("loss", what, "Return a torch.nn.Module, a function or a dlrun.Loss."))
    return name, CallableLoss(name, made)


def a_type(value: object) -> str:
    """The type of a value with its article, for error messages: `a tuple`, `an int`, `None`."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def check_weights(data: Data, loss_name: str, loss: Loss) -> Data:
    """The data, with a note on metrics that ignore its row weights. Raises `ConfigError` for a loss without `each`."""
    if all(part.weight is None for part in data.parts().values()):
        return data
    if not loss.takes_weights:
        what = f"the loss {loss_name} cannot weigh rows."
        hint = "Use one of dlrun's own, or a dlrun.Loss with a method each(output, target) -> (N,)."
        raise ConfigError(Problem("dataset.weight", what, hint))
    if not METRICS.plugins:
        return data
    return replace(data, notes=(*data.notes, f"row weights are not used by {', '.join(sorted(METRICS.plugins))}"))


def class_counts(data: Data) -> list[float] | None:
    """The number of rows of each class in the training part, or the sum of their weights; None without classes."""
    target = data.train.target
    if data.spec.task != "classification" or target.is_floating_point():
        return None
    return torch.bincount(target.long(), data.train.weight, minlength=len(data.spec.labels)).tolist()


def fit_to_loss(data: Data, loss_name: str) -> Data:
    """For a binary loss, give data of two classes one output and a target (N, 1) of zeros and ones."""
    spec = data.spec
    if spec.task != "classification" or not LOSSES.known(loss_name).binary or spec.num_outputs == 1:
        return data
    if spec.num_outputs != 2:
        what = f"{loss_name} wants two classes, and {spec.name} has {spec.num_outputs}."
        raise ConfigError(Problem("loss", what, "Did you mean loss=cross_entropy?"))
    parts: Values = {
        name: part if part.dataset is not None else replace(part, target=part.target.float().reshape(-1, 1))
        for name, part in data.parts().items()
    }
    return replace(data, spec=spec.replace(num_outputs=1), **parts)


def first_rows(data: Data) -> Batch:
    """The first rows of the training part, prepared for the model."""
    count = min(TEXTS if data.spec.input_kind == "text" else EXAMPLE_ROWS, data.train.samples)
    source, _ = batches_for(data.train.first(count), data.spec, batch_size=count, loading=Loading("auto", workers=0))
    return next(iter(source.epoch(0))).first(EXAMPLE_ROWS)


def build_model(config: Config, spec: DataSpec) -> nn.Module:
    """Build the model, with initial weights drawn from their own random stream."""
    seed_everything(derive(config.seed, "weights"))
    return new_model(config, spec)


def new_model(config: Config, spec: DataSpec) -> nn.Module:
    """Build the model, with initial weights drawn from the generators in their present state."""
    model = MODELS.get(config.model.name)(spec, **arguments(config, "model"))
    if not isinstance(model, nn.Module):
        what = f"{config.model.name} returned {a_type(model)}, not a torch.nn.Module."
        raise ConfigError(Problem("model", what))
    return model


def materialize(config: Config, model: nn.Module, batch: Batch) -> None:
    """Initialize the lazy modules of a user's model."""
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        with taking(config, batch):
            forward(model, batch)


def forward(model: nn.Module, batch: Batch) -> object:
    """Call the model on a batch in eval mode, without gradients."""
    device = device_of(model)
    with eval_mode(model), torch.no_grad():
        return model(*(x.to(device, copy=True) for x in batch.inputs))  # a model may change its inputs


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters: the CPU, unless a user's model chooses another one."""
    return next(model.parameters(), torch.zeros(1)).device


@contextmanager
def taking(config: Config, batch: Batch) -> Iterator[None]:
    """Context manager that turns an exception of the model into a `ConfigError` which names model and data.

    Exceptions with a user's model or loss are raised as they are, since their traceback is needed.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        if config.model.name in MODELS.plugins or config.loss.name in LOSSES.plugins:
            raise
        given = ", ".join(str(tuple(x.shape[1:])) for x in batch.inputs)
        what = f"{config.model.name} cannot take this data ({config.dataset.name}: {given} a sample): "
        raise ConfigError(Problem("model", f"{what}{first_line(error) or type(error).__name__}.")) from error


class InOwnUnits:
    """The metric of a regression whose errors are told in the units of its target, whose steps are undone first."""

    def __init__(self, metric: TaskMetric, preparation: Preparation) -> None:
        self.inner, self.preparation, self.home = metric, preparation, torch.device("cpu")
        self.names, self.train_names, self.countable = metric.names, metric.train_names, metric.countable
        self.better = getattr(metric, "better", {})
        self.merge = getattr(metric, "merge", None)
        self.train_merge = getattr(metric, "train_merge", None)
        self.result, self.train_result, self.confusion = metric.result, metric.train_result, metric.confusion

    def restored(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Output and target in the target's own units."""
        if output.device != self.home:
            self.preparation.to(output.device)
            self.home = output.device
        return self.preparation.restore_target(output), self.preparation.restore_target(target)

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The counts of a batch in evaluation."""
        return self.inner.counts(*self.restored(output, target), weight)

    def train_counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The counts of a batch in training."""
        return self.inner.train_counts(*self.restored(output, target), weight)


def build_metric(spec: DataSpec, loss: Loss) -> TaskMetric:
    """Build the metric of the data's task, together with those that plug-ins have registered."""
    metric: TaskMetric = METRICS.get(metric_for(spec))(spec, loss)
    if spec.preprocessing.get("own_units"):
        metric = InOwnUnits(metric, Preparation(spec))
    users = [make(spec, loss) for make in METRICS.plugins.values()]
    return MetricCollection(metric, users) if users else metric

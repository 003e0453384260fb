"""The types that the packages of dlrun share: the description of the data, a batch, and protocols of components.

Kinds of input (`input_kind`), with N the batch size:

    tabular   (N, F) float                           models may see any shape flattened to it
    image     (N, C, H, W) float
    text      codes (N, T) int64 and lengths (N,)    right-padded with 0; code 0 is the padding
    sequence  (N, T, F) float
    multi     several tensors; `input_shape` is the first one's

Tasks, with the target and the output that a model gives:

    classification   target (N,) int64                      output (N, num_outputs) logits
                     target (N, 1) float in {0, 1}          output (N, 1), where num_outputs is 1 (binary losses)
    multilabel       target (N, K) float in {0, 1}          output (N, K) logits
    labelling        target (N, T) int64                    output (N, num_outputs, T) logits
                     target (N, H, W) int64                 output (N, num_outputs, H, W) logits
    regression       target (N, K) float                    output (N, K)
    reconstruction   target = the prepared input            output of the input's shape
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("tabular", "image", "text", "sequence", "multi")
AUTO_LOSS = {  # of each task, what `loss=auto` stands for
    "classification": "cross_entropy",
    "multilabel": "bce_with_logits",
    "labelling": "cross_entropy",
    "regression": "mse",
    "reconstruction": "mse",
}
TASKS = tuple(AUTO_LOSS)
IGNORE_INDEX = -100  # the target of a padded position, as in torch

Interval = Literal["epoch", "step", "metric"]
StateDict: TypeAlias = dict[str, Any]  # plain values and tensors, as torch's `state_dict()` gives them
Forward: TypeAlias = "Callable[..., Tensor]"  # a model as it is called, or what takes its place: `forward(*inputs)`


@dataclass(frozen=True)
class DataSpec:
    """The description of a data set for models, losses and reports.

    `input_shape` leaves out the batch; for text it is `(T,)` with T the longest length in the training part.
    `other_shapes` are the shapes of the second and further inputs of `multi` data, without the batch.
    `labels` are class names in the order of their numbers. `vocabulary` holds the characters or words whose
    code is their position (0 is padding, 1 is unknown). `preprocessing` are the steps of `data.transforms`,
    fitted on the training part, as plain values: they travel in the checkpoint and are applied again to new data.
    `seen` holds what the training rows are like (`brightness`: the mean of images, 0 to 1), to tell odd inputs by.
    """

    name: str
    task: str
    input_kind: str
    input_shape: tuple[int, ...]
    num_outputs: int
    labels: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = field(default_factory=dict)
    other_shapes: tuple[tuple[int, ...], ...] = ()
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        """The number of codes, padding and unknown included; 0 if the data is not text."""
        return len(self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values (lists, dicts, strings, numbers), for checkpoints and JSON."""
        return {key: _lists(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_dict`."""
        return cls(**{key: _tuples(value) for key, value in values.items()})

    def replace(self, **changes: Any) -> DataSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _lists(value: object) -> object:
    """Convert tuples, also nested ones, to lists. Dicts are not changed."""
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: object) -> Any:
    """Convert lists, also nested ones, to tuples. Dicts are not changed."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


class Batch(NamedTuple):
    """A batch for the model, which is called as `model(*inputs)`, and for the loss: `loss(output, target)`."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    weight: Tensor | None = None  # (N,) by which rows count in loss and metrics; None: all alike

    def first(self, rows: int) -> Batch:
        """The batch of its first rows."""
        weight = None if self.weight is None else self.weight[:rows]
        return Batch(tuple(x[:rows] for x in self.inputs), self.target[:rows], weight)


class BatchSource(Protocol):
    """The batches of one part of the data."""

    batch_size: int
    samples: int  # rows in all batches of an epoch
    resident: bool  # whether the rows are in memory
    weighted: bool  # whether batches have row weights

    def __len__(self) -> int: ...

    def sizes(self, i: int) -> int:
        """The number of rows in batch `i`."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Iterate over the batches of an epoch from number `start` on; those before it are not computed."""

    def close(self) -> None:
        """Stop DataLoader workers, if there are any."""


class Loss(Protocol):
    """A loss as the engine uses it. `objectives.loss.Loss` is the base class of losses."""

    reduction: str  # `mean` or `sum`
    probabilities: bool  # whether it expects probabilities, not logits
    ignore_index: int | None  # targets with this value are ignored

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, 0-d."""

    def denominator(self, target: Tensor) -> int | Tensor:
        """The divisor of the mean of this batch, up to a factor that is the same for all batches."""

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `ConfigError` unless output and target fit this loss."""


class Metric(Protocol):
    """A metric that is computed from counts, which are summed over batches."""

    names: tuple[str, ...]  # of the numbers in `result`

    def counts(self, output: Tensor, target: Tensor) -> Tensor:
        """The counts of a batch in evaluation."""

    def result(self, counts: Tensor) -> dict[str, float]:
        """The metrics that the sum of counts gives."""


class TaskMetric(Metric, Protocol):
    """The metric of a task, which is computed in training as well."""

    train_names: tuple[str, ...]  # of the numbers in `train_result`
    countable: bool  # whether training counts are integers that may be computed for several batches at once

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The counts of a batch in evaluation, in which each row counts by its weight (N,)."""

    def train_counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The counts of a batch in training, which are cheaper than `counts`."""

    def train_result(self, counts: Tensor) -> dict[str, float]:
        """The metrics that the sum of training counts gives."""

    def confusion(self, counts: Tensor) -> list[list[float]] | None:
        """The confusion matrix, with true classes as rows; None if there are no classes."""


class Schedule(Protocol):
    """A learning-rate schedule as the engine uses it. `objectives.schedule.Schedule` wraps torch's schedulers."""

    interval: Interval  # when `step` is due: after an epoch, an optimizer step, or an evaluation

    def step(self, metric: float | None = None) -> None:
        """Set the next learning rates."""

    def set_mode(self, mode: str) -> None:
        """Set whether less or more of the metric is better (`min`, `max`), for a schedule that depends on one."""

    def state_dict(self) -> StateDict:
        """The state for a checkpoint, as plain values."""

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state of `state_dict`."""

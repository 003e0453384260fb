"""What passes through the doors between rooms: the description of the data, a batch, and the protocols of components.

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
    """Everything a model, a loss or a report needs to know of a data set.

    `input_shape` leaves out the batch; for text it is `(T,)` with T the longest length in the training part.
    `other_shapes` are the shapes of the second and further inputs of `multi` data, without the batch.
    `labels` are class names in the order of their numbers. `vocabulary` holds the characters or words whose
    code is their position (0 is padding, 1 is unknown). `preprocessing` is what `data.preprocess` fitted on
    the training part, as plain values: it travels in the checkpoint and is applied again to new data.
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

    @property
    def vocab_size(self) -> int:
        """The number of codes, padding and unknown included (0 when the data is not text)."""
        return len(self.vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values only (lists, dicts, str, numbers), fit for a checkpoint or JSON."""
        return {key: _lists(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_dict`."""
        return cls(**{key: _tuples(value) for key, value in values.items()})

    def replace(self, **changes: Any) -> DataSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _lists(value: object) -> object:
    """Tuples, also nested ones, as lists; a dict is left as it is."""
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: object) -> Any:
    """Lists, also nested ones, as tuples; a dict is left as it is."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


class Batch(NamedTuple):
    """Rows ready for the model: it is called as `model(*inputs)`, and the loss as `loss(output, target)`."""

    inputs: tuple[Tensor, ...]
    target: Tensor

    def first(self, rows: int) -> Batch:
        """The batch of its first rows."""
        return Batch(tuple(x[:rows] for x in self.inputs), self.target[:rows])


class BatchSource(Protocol):
    """The batches of one part of the data, in memory or read from disk."""

    batch_size: int
    samples: int  # rows in all batches of an epoch
    resident: bool  # are the rows in memory?

    def __len__(self) -> int: ...

    def sizes(self, i: int) -> int:
        """The number of rows in batch `i`."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from number `start` on; those before it are not computed."""

    def close(self) -> None:
        """Stop the processes that read rows, if there are any."""


class Loss(Protocol):
    """What the engine asks of a loss; `objectives.loss.Loss` is the base class that provides it."""

    reduction: str  # `mean` or `sum`
    probabilities: bool  # are the model's outputs probabilities, not logits?
    ignore_index: int | None  # the target that counts nothing (None: the loss names none)

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, 0-d."""

    def denominator(self, target: Tensor) -> int | Tensor:
        """What the mean of this batch is divided by, up to a factor that is the same for every batch."""

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `ConfigError` unless output and target fit this loss."""


class Metric(Protocol):
    """Counts of a batch that add up over batches, and the numbers that their sum gives."""

    names: tuple[str, ...]  # of the numbers in `result`

    def counts(self, output: Tensor, target: Tensor) -> Tensor:
        """The counts of a batch in evaluation."""

    def result(self, counts: Tensor) -> dict[str, float]:
        """The metrics that the sum of counts gives."""


class TaskMetric(Metric, Protocol):
    """The metric of a task, which is counted during training as well."""

    train_names: tuple[str, ...]  # of the numbers in `train_result`
    countable: bool  # are the training counts integers that may be taken of several batches at once?

    def train_counts(self, output: Tensor, target: Tensor) -> Tensor:
        """The counts of a batch in training, which are cheaper than `counts`."""

    def train_result(self, counts: Tensor) -> dict[str, float]:
        """The metrics that the sum of training counts gives."""

    def confusion(self, counts: Tensor) -> list[list[int]] | None:
        """Rows of true classes by columns of predicted ones; None where there are no classes."""


class Schedule(Protocol):
    """A learning-rate schedule, and when to step it; `objectives.schedule.Schedule` wraps torch's in it."""

    interval: Interval  # when `step` is due: after an epoch, an optimizer step, or an evaluation

    def step(self, metric: float | None = None) -> None:
        """Set the next learning rates."""

    def set_mode(self, mode: str) -> None:
        """Tell a schedule that goes by a metric whether less or more of it is better (`min`, `max`)."""

    def state_dict(self) -> StateDict:
        """What a checkpoint keeps, as plain Python."""

    def load_state_dict(self, state: StateDict) -> None:
        """Go on where `state_dict` was taken."""

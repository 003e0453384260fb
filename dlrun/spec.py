"""What is known of the data: plain values that models, losses and reports are told, and checkpoints keep.

Kinds of input (`input_kind`), with N the batch size:

    tabular   (N, F) float                           models may see any shape flattened to it
    image     (N, C, H, W) float
    text      codes (N, T) int64 and lengths (N,)    right-padded with 0; code 0 is the padding
    sequence  (N, T, F) float
    multi     several tensors; `input_shape` is the first one's

Tasks, with the target and the output that a model gives:

    classification   target (N,) int64                      output (N, num_outputs) logits
                     target (N, 1) float in {0, 1} when num_outputs is 1 (binary losses), output (N, 1)
    multilabel       target (N, K) float in {0, 1}          output (N, K) logits
    labelling        target (N, T) or (N, H, W) int64       output (N, num_outputs, T) or (N, num_outputs, H,
    W) regression       target (N, K) float                    output (N, K)
    reconstruction   target = the prepared input            output of the input's shape
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

KINDS = ("tabular", "image", "text", "sequence", "multi")
TASKS = ("classification", "multilabel", "labelling", "regression", "reconstruction")
IGNORE_INDEX = -100  # the target of a padded position, as in torch


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
    def from_dict(cls, values: dict[str, Any]) -> DataSpec:
        """The inverse of `to_dict`."""
        return cls(**{key: _tuples(value) for key, value in values.items()})

    def replace(self, **changes: Any) -> DataSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _lists(value: Any) -> Any:
    """Tuples, also nested ones, as lists; a dict is left as it is."""
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    """Lists, also nested ones, as tuples; a dict is left as it is."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value

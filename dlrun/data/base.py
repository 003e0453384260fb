"""What a data set is: parts of rows as stored, and a specification of what they mean.

`Data` is what every dataset function returns. Rows are kept as they were stored (uint8 images stay uint8);
`transforms.Preparation` turns them into model inputs, a batch or a whole part at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unicodedata import category

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dlrun.data.splits import check_class_count
from dlrun.data.transforms import read_steps, scale_of
from dlrun.errors import DataError
from dlrun.moved import keep_old_names
from dlrun.spec import IGNORE_INDEX, DataSpec

keep_old_names(__name__)

LOOKED_AT, DECODED = 1000, 16  # training images whose brightness is measured: in memory, from files


@dataclass(frozen=True)
class Split:
    """The rows of one split: `inputs` and `target`, N rows each, as stored.

    Rows that stay on disk come from `dataset`, map-style, whose items are `(input, ..., target)` as stored;
    then `inputs` is empty and `target` (N, ...) holds what is known of the targets without reading a row. A
    dataset whose rows are the same each time says so by an attribute `fixed = True`, and may be kept in
    memory. `augment` changes the first input of a row at random, as stored, each time it is used. `weight` (N,),
    floats of 0 and more, says how much each row counts in loss and metrics (None: all alike).
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    dataset: Dataset[Any] | None = None
    augment: Callable[[Tensor], Tensor] | None = None
    weight: Tensor | None = None

    @property
    def samples(self) -> int:
        """The number of rows, N."""
        return self.target.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that are in memory."""
        return sum(tensor.nbytes for tensor in (*self.inputs, self.target))

    def take(self, rows: Tensor | Sequence[int]) -> Split:
        """The given rows, in the given order, in memory (a part on disk is refused with `TypeError`)."""
        if self.dataset is not None:
            raise TypeError("the rows of this part are on disk: split their paths instead")
        index = torch.as_tensor(rows, dtype=torch.int64)
        weight = None if self.weight is None else self.weight[index]
        inputs = tuple(tensor[index] for tensor in self.inputs)
        return replace(self, inputs=inputs, target=self.target[index], weight=weight)

    def first(self, count: int) -> Split:
        """The first rows, in memory or on disk."""
        weight = None if self.weight is None else self.weight[:count]
        inputs = tuple(tensor[:count] for tensor in self.inputs)
        dataset = None if self.dataset is None else Subset(self.dataset, range(count))
        return replace(self, inputs=inputs, target=self.target[:count], dataset=dataset, weight=weight)


@dataclass(frozen=True)
class Loading:
    """How rows reach the device: `in_memory` true, false or auto; `workers` a number of processes or auto."""

    in_memory: bool | str = "auto"
    workers: int | str = "auto"


@dataclass(frozen=True)
class Data:
    """A data set: its `spec`, its parts, and `notes` for the header (sources, leaks that were found).

    Those `notes` that a result cannot be read without (test rows seen in training) are `remarks`: they are said
    again at the end of the run. `drawn` is the range of x in which the fit of one feature is drawn. `rival(data)`
    measures another kind of model on the same rows. `files` are texts that a run keeps, by their names. `test_rows` are
    the numbers of the test rows in the whole table: with them, a run writes what it predicts for each.
    """

    spec: DataSpec
    train: Split
    val: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()
    loading: Loading = Loading()
    remarks: tuple[str, ...] = ()
    drawn: tuple[float, float] | None = None
    rival: Callable[[Data], dict[str, Any]] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    test_rows: tuple[int, ...] = ()

    def parts(self) -> dict[str, Split]:
        """The parts that exist, by name: train, val, test."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def from_parts(
    name: str,
    task: str,
    kind: str,
    train: Split,
    val: Split | None = None,
    test: Split | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
    labels: Sequence[str] = (),
    fixed_labels: bool = False,
    vocabulary: Sequence[str] = (),
    feature_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
    preprocessing: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
    remarks: Sequence[str] = (),
    loading: Loading | None = None,
) -> Data:
    """`Data` from finished parts: makes the spec from the training part and checks every part.

    `input_shape` is needed only when the rows are on disk. `fixed_labels` says that the classes are known
    beforehand (MNIST's ten digits): a class that only val or test holds is then a note, else a `DataError`.
    Raises `DataError` for empty parts, unequal rows, NaN or infinite numbers, and targets that no label has.
    """
    shape = input_shape or tuple(train.inputs[0].shape[1:])
    spec = DataSpec(
        name=name,
        task=task,
        input_kind=kind,
        input_shape=shape,
        num_outputs=_num_outputs(task, shape, train.target, labels),
        labels=tuple(labels),
        vocabulary=tuple(vocabulary),
        feature_names=tuple(feature_names),
        target_names=tuple(target_names),
        preprocessing=preprocessing or {},
        other_shapes=tuple(tuple(x.shape[1:]) for x in train.inputs[1:]) if kind == "multi" else (),
        seen=_seen(kind, train, preprocessing or {}),
    )
    remarks = [*remarks, *check_labels(spec, train.samples)]
    lines = [*notes, *remarks]
    for part_name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            check_part(spec, part_name, part)
            lines += check_classes(spec, part_name, part, train, fixed_labels)
    return Data(spec, train, val, test, tuple(lines), loading or Loading(), tuple(remarks))


def _seen(kind: str, train: Split, preprocessing: dict[str, Any]) -> dict[str, float]:
    """What the training rows are like: the mean brightness of some images, 0 to 1."""
    if kind != "image":
        return {}
    if train.dataset is not None:  # decoding takes a while
        images = torch.stack([train.dataset[i][0] for i in range(0, train.samples, max(1, train.samples // DECODED))])
    else:
        images = train.inputs[0][:LOOKED_AT]
    if images.dtype != torch.uint8:
        return {}
    steps = next(iter(preprocessing.get("inputs") or []), None)
    return {"brightness": float(images.float().mean()) / (scale_of(read_steps(steps)) or 255.0)}


def _num_outputs(task: str, shape: tuple[int, ...], target: Tensor, labels: Sequence[str]) -> int:
    if task == "reconstruction":
        return math.prod(shape)
    if task in ("regression", "multilabel") or (task == "classification" and target.is_floating_point()):
        return target.shape[1]
    return len(labels)


def check_part(spec: DataSpec, name: str, part: Split) -> None:
    """Raise `DataError` for what would fail later: no rows, unequal counts, bad numbers, unknown targets."""
    if part.samples == 0:
        raise DataError(f"dataset {spec.name}: the {name} part is empty.")
    weight = () if part.weight is None else (part.weight,)
    counts = {tensor.shape[0] for tensor in (*part.inputs, part.target, *weight)}
    if len(counts) > 1:
        raise DataError(f"dataset {spec.name}: inputs and targets of {name} have {sorted(counts)} rows.")
    for values in weight:
        if not bool((torch.isfinite(values) & (values >= 0)).all()) or not bool(values.any()):
            what = f"the row weights of {name} must be numbers of 0 and more, not all of them 0."
            raise DataError(f"dataset {spec.name}: {what}")
    for tensor in part.inputs:
        _check_finite(tensor, f"dataset {spec.name}: {name} inputs", spec.feature_names)
    _check_finite(part.target, f"dataset {spec.name}: {name} targets", spec.target_names)
    if spec.task == "labelling" or (spec.task == "classification" and spec.num_outputs > 1):
        _check_range(spec, name, part.target)


def check_labels(spec: DataSpec, rows: int) -> list[str]:
    """A remark on labels that differ in case or spacing alone. Raises `DataError` for labels that cannot be shown."""
    check_class_count(len(spec.labels), rows, f"dataset {spec.name}")
    alike: dict[str, list[str]] = {}
    for label in spec.labels:
        if any(category(char) == "Cs" for char in label):  # half of a pair: what Python makes of a foreign byte
            raise DataError(f"dataset {spec.name}: the label {label!a} is not UTF-8. Rename it.")
        alike.setdefault(" ".join(label.casefold().split()), []).append(label)
    return [
        f"the labels {' and '.join(map(repr, same))} differ in case or spacing alone, but are classes of their own"
        for same in alike.values()
        if len(same) > 1
    ]


def _check_finite(values: Tensor, where: str, names: Sequence[str]) -> None:
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return
    if bool(torch.isfinite(values).all()):  # the sum is quicker, but can overflow
        return
    flat = values.reshape(values.shape[0], -1)
    bad = ~torch.isfinite(flat)
    column = int(bad.sum(0).argmax())
    label = repr(names[column]) if column < len(names) else f"number {column + 1}"
    if bool(torch.isnan(flat[:, column]).all()):
        raise DataError(f"{where}: column {label} is NaN in every row. Leave it out.")
    rows = bad.any(1).nonzero()[:10, 0] + 1
    raise DataError(
        f"{where}: {int(bad.any(1).sum())} rows hold NaN or infinite values, most in column {label} "
        f"(first rows: {', '.join(str(int(r)) for r in rows)}). Fill or drop them."
    )


def _check_range(spec: DataSpec, name: str, target: Tensor) -> None:
    known = target[target != IGNORE_INDEX]
    if known.numel() and (int(known.min()) < 0 or int(known.max()) >= spec.num_outputs):
        raise DataError(
            f"dataset {spec.name}: targets of {name} go from {int(known.min())} to {int(known.max())}, "
            f"but there are {spec.num_outputs} classes (0 to {spec.num_outputs - 1})."
        )


def check_targets(data: Data, ignore_index: int | None) -> None:
    """Raise `DataError` for a part in which the loss would ignore every target: nothing is learned or measured on it.

    `ignore_index` is the loss's (None: -100). Of several labels those that are NaN or below 0 are unknown.
    """
    ignored = IGNORE_INDEX if ignore_index is None else ignore_index
    for name, part in data.parts().items():
        if data.spec.task == "multilabel":
            known, what = part.target >= 0, "unknown (NaN or below 0)"
        elif data.spec.task in ("classification", "labelling"):
            known, what = part.target != ignored, f"{ignored}, which the loss ignores"
        else:
            continue
        if not bool(known.any()):
            raise DataError(f"dataset {data.spec.name}: every target of the {name} part is {what}.")


def check_classes(spec: DataSpec, name: str, part: Split, train: Split, fixed: bool) -> list[str]:
    """Classes of `part` that `train` lacks: a `DataError`, or a note when the labels are fixed beforehand."""
    if spec.task != "classification" or part is train:
        return []
    missing = sorted(_classes(part.target) - _classes(train.target))
    if not missing:
        return []
    names = ", ".join(spec.labels[c] if c < len(spec.labels) else str(c) for c in missing[:10])
    line = f"the {name} part holds classes that train lacks: {names}"
    if fixed:
        return [line]
    raise DataError(f"dataset {spec.name}: {line}. Nothing could be learnt about them.")


def _classes(target: Tensor) -> set[int]:
    counts = torch.bincount(target.reshape(-1).to(torch.int64))
    return set(counts.nonzero()[:, 0].tolist())

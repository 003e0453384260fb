"""What a model must beat: always the majority class, or always the mean, learned from the training part alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dlrun.data.base import Data, Split
from dlrun.data.transforms import Preparation
from dlrun.spec import IGNORE_INDEX

ROWS = 4096  # images whose prepared form is in memory at a time


def baseline(data: Data, ignore_index: int | None = None, used: Mapping[str, int] | None = None) -> dict[str, Any]:
    """`{"of": what it does, "part": test, else val, else train, METRIC: value, ...}`, metrics as runs name them.

    `accuracy` where there are classes or tags; `mae`, `mse` and, for regression, `r2` (mean over the
    targets), in the units in which the model is trained. Targets equal to the loss's `ignore_index` (-100 where it
    names none) count nothing, rows their weights, as in the metric. Where fewer rows of a part are `used` than it
    has, the first ones count. Empty when the rows would have to be read from disk.
    """
    name = "test" if data.test is not None else "val" if data.val is not None else "train"
    part = data.parts()[name]
    part = part.first((used or {}).get(name) or part.samples)
    if data.spec.task == "reconstruction":
        numbers = _reconstruction(data, part)
    else:
        prepare = Preparation(data.spec).prepare_target
        train, wanted = prepare(data.train.target), prepare(part.target)
        weights = tuple(each_weight(split, target) for split, target in ((data.train, train), (part, wanted)))
        if data.spec.task == "regression":
            undo = Preparation(data.spec).restore_target if data.spec.preprocessing.get("own_units") else None
            numbers = _regression(train, wanted, undo, *weights)
        elif data.spec.task == "multilabel":
            numbers = _tags(train, wanted, *weights)
        else:
            ignored = IGNORE_INDEX if ignore_index is None else ignore_index
            numbers = _majority(train, wanted, data.spec.labels, ignored, *weights)
    return {"part": name, **numbers} if numbers else {}


def each_weight(part: Split, target: Tensor) -> Tensor:
    """What each number of a prepared target counts: the weight of its row, or 1."""
    rows = torch.ones(len(target), dtype=torch.float64) if part.weight is None else part.weight.double()
    return rows.reshape(-1, *[1] * (target.ndim - 1)).expand_as(target)


def _share(right: Tensor, weight: Tensor) -> float:
    return _mean(right.to(torch.float64), weight).item()


def _mean(values: Tensor, weight: Tensor, *dims: int) -> Tensor:
    return (values * weight).sum(*dims) / weight.sum(*dims)


def _majority(
    train: Tensor, wanted: Tensor, labels: tuple[str, ...], ignored: int, learned: Tensor, weight: Tensor
) -> dict[str, Any]:
    """The majority class, also of labels by position; positions that are ignored do not count."""
    counted = train[train != ignored].flatten().to(torch.int64)
    if not len(counted):
        return {}
    usual = int(counted.bincount(learned[train != ignored].flatten()).argmax())
    label = labels[usual] if usual < len(labels) else str(usual)
    used = wanted != ignored
    return {"of": f"majority class ({label})", "accuracy": _share(wanted[used] == usual, weight[used])}


def _tags(train: Tensor, wanted: Tensor, learned: Tensor, weight: Tensor) -> dict[str, Any]:
    """The majority answer to each tag; tags that are unknown (NaN or below 0) do not count, as in the metric."""
    known = (train >= 0) * learned
    usual = 2 * ((train > 0.5) * learned).sum(0) > known.sum(0)
    right, used = (wanted > 0.5) == usual, wanted >= 0
    return {"of": "majority of each tag", "accuracy": _share(right[used], weight[used])}


def _regression(
    train: Tensor, wanted: Tensor, undo: Callable[[Tensor], Tensor] | None, learned: Tensor, weight: Tensor
) -> dict[str, Any]:
    """The mean value as the answer; R2 is that of scikit-learn for a constant guess, averaged over the targets."""
    mean = _mean(train.double(), learned, 0)
    square = _mean((wanted.double() - mean).square(), weight).item()  # the loss, in the units of training
    if undo is not None:
        wanted, mean = undo(wanted.double()), undo(mean[None])[0]
    error = wanted.double() - mean
    spread = _mean((wanted.double() - _mean(wanted.double(), weight, 0)).square(), weight, 0)
    numbers = {"of": "mean value", "mae": _mean(error.abs(), weight).item(), "mse": square}
    if len(wanted) > 1 and bool((spread > 0).all()):
        numbers["r2"] = (1 - _mean(error.square(), weight, 0) / spread).mean().item()
    return numbers


def _reconstruction(data: Data, part: Split) -> dict[str, Any]:
    """The mean image of train as the answer to every image."""
    if data.train.dataset is not None or part.dataset is not None:
        return {}
    preparation = Preparation(data.spec)
    total = torch.zeros(data.spec.input_shape, dtype=torch.float64)
    for rows in data.train.inputs[0].split(ROWS):
        total += preparation.prepare_inputs((rows,))[0].double().sum(0)
    mean = (total / data.train.samples).float()
    absolute = squared = 0.0
    for rows in part.inputs[0].split(ROWS):
        error = preparation.prepare_inputs((rows,))[0] - mean
        absolute += error.abs().double().sum().item()
        squared += error.square().double().sum().item()
    count = part.inputs[0].numel()
    return {"of": "mean image", "mae": absolute / count, "mse": squared / count}

"""From two arrays to a data set: split, scaled on the training part, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Data, Split, check_part, from_parts
from dlrun.data.leaks import overlap_notes
from dlrun.data.splits import split_off
from dlrun.data.transforms import Scale, Standardize, write_steps
from dlrun.spec import DataSpec


def from_arrays(
    name: str,
    task: str,
    kind: str,
    inputs: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    *,
    seed: int,
    split_seed: int | None = None,
    val_fraction: float = 0.0,
    test_fraction: float = 0.0,
    rows: tuple[Tensor, Tensor, Tensor] | None = None,
    standardize: bool = False,
    standardize_target: bool = False,
    scale: float | None = None,
    labels: Sequence[str] = (),
    feature_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Data:
    """`Data` from inputs (N, ...) and target (N,) of class numbers or (N, K).

    Test is drawn from all rows by `split_seed` (None: `seed`) and val from the rest by `seed`, stratified for
    classification; `rows` gives the row numbers of (train, val, test) instead. `standardize` fits mean and deviation
    of each feature on train; `scale` divides stored uint8 values. Raises `DataError` for NaN, empty parts and classes
    that cannot be split.
    """
    whole = Split((to_tensor(inputs),), to_tensor(target))
    spec = DataSpec(name, task, kind, tuple(whole.inputs[0].shape[1:]), 1, feature_names=tuple(feature_names))
    check_part(spec, "all", whole)  # before a NaN gets into the means
    classes = whole.target if task == "classification" else None
    if rows is None:
        rows = split_off(whole.samples, (val_fraction, test_fraction), seed, split_seed, classes, labels)
    parts = [whole.take(part) if len(part) else None for part in rows]
    assert parts[0] is not None, "split leaves rows in train"
    return from_parts(
        name,
        task,
        kind,
        parts[0],
        parts[1],
        parts[2],
        labels=labels,
        feature_names=feature_names,
        target_names=target_names,
        preprocessing=_fit(parts[0], standardize, standardize_target, scale),
        notes=notes,
        remarks=overlap_notes(parts[0], parts[2]),
    )


def _fit(train: Split, standardize: bool, standardize_target: bool, scale: float | None) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    if standardize:
        steps["inputs"] = [write_steps([Standardize.fit(train.inputs[0])])]
    elif scale is not None:
        steps["inputs"] = [write_steps([Scale(scale)])]
    if standardize_target:
        steps["target"] = write_steps([Standardize.fit(train.target)])
    return steps


def to_tensor(values: np.ndarray | Tensor) -> Tensor:
    """float64 becomes float32; everything else stays as it is."""
    # pandas 3 gives views that cannot be written to, of which torch warns: those are copied
    tensor = torch.as_tensor(np.require(values, requirements="W") if isinstance(values, np.ndarray) else values)
    return tensor.to(torch.float32) if tensor.dtype == torch.float64 else tensor

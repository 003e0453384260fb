"""A user's own arrays or table as a data set: `dlrun.from_arrays` and `dlrun.from_frame`.

@dlrun.register.dataset("houses")
def houses(*, seed: int, path: Path):
    return dlrun.from_frame(pandas.read_csv(path), target="price", seed=seed)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlrun.data import arrays
from dlrun.data.base import Data
from dlrun.errors import DataError, did_you_mean
from dlrun.spec import KINDS

if TYPE_CHECKING:
    import pandas

MOST_ROWS = 200_000  # of a Dataset that is read into memory
KIND_OF = {2: "tabular", 3: "sequence", 4: "image"}  # by the number of dimensions, that of the rows included


def from_arrays(
    inputs: np.ndarray | Tensor,
    target: Sequence[object] | np.ndarray | Tensor,
    *,
    seed: int = 0,
    split_seed: int | None = None,
    task: str = "auto",
    kind: str = "auto",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    standardize: bool = True,
    labels: Sequence[str] = (),
    feature_names: Sequence[str] = (),
    name: str = "arrays",
) -> Data:
    """`Data` of arrays in memory, cut into train, validation and test, features scaled by the training part.

    Args:
        inputs: (N, F) numbers, (N, T, F) sequences or (N, C, H, W) images; uint8 images are divided by 255 instead.
        target: (N,) class names or whole numbers from 0 (classification), or (N,) or (N, K) floats (regression).
        seed: draws the parts; a data set function is handed it.
        split_seed: draws the test part; None: `seed` does. A comparison of several seeds holds it fixed where a data
            set function has it as a keyword argument and hands it on.
        task: `classification` or `regression`; auto: by the target, of which floats are regression.
        labels: names of the classes in the order of their numbers.
        kind: of `spec.KINDS`; auto: by the number of dimensions.
        val_fraction: share of the rows that are not test rows; 0 takes none.
        test_fraction: share of all rows.
        standardize: features to mean 0 and deviation 1, measured on the training part.
        feature_names: for tables and reports.
        name: what the data set is called in messages.

    Raises `DataError` for rows that do not fit, NaN, and classes that cannot be split.
    """
    features = arrays.to_tensor(inputs if isinstance(inputs, Tensor) else np.asarray(inputs))
    kind = KIND_OF.get(features.ndim, "") if kind == "auto" else kind
    if kind not in KINDS:
        raise DataError(f"{name}: inputs {tuple(features.shape)} are no rows: give (N, F), (N, T, F) or images.")
    task, values, labels = _read_target(target, task, labels)
    pixels = features.dtype == torch.uint8
    return arrays.from_arrays(
        name,
        task,
        kind,
        features if pixels else features.float(),
        values,
        seed=seed,
        split_seed=split_seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        standardize=standardize and not pixels,
        scale=255.0 if pixels else None,
        labels=labels,
        feature_names=feature_names,
    )


def from_dataset(dataset: Dataset[Any], *, seed: int = 0, name: str = "dataset") -> Data:
    """`Data` of a map-style dataset of torch's, whose items are `(input, target)`; all rows are read into memory.

    Raises `DataError` for items of another kind, and where there are more than `MOST_ROWS`.
    """
    count = len(dataset) if hasattr(dataset, "__len__") else -1
    if not 0 < count <= MOST_ROWS:
        what = "has no length" if count < 0 else f"has {count:,} rows, and 1 to {MOST_ROWS:,} are read"
        raise DataError(f"{name}: the Dataset {what}. Return a dlrun.Data whose parts are Datasets.")
    rows = [dataset[i] for i in range(count)]
    if not all(isinstance(row, tuple | list) and len(row) == 2 for row in rows):
        raise DataError(f"{name}: an item of the Dataset is no (input, target), but a {type(rows[0]).__name__}.")
    try:
        inputs = torch.stack([arrays.to_tensor(torch.as_tensor(np.asarray(row[0]))) for row in rows])
        target = torch.as_tensor(np.asarray([np.asarray(row[1]) for row in rows]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: the items of the Dataset cannot be stacked ({error}).") from error
    return from_arrays(inputs, target, seed=seed, name=name)


def _read_target(
    target: Sequence[object] | np.ndarray | Tensor, task: str, labels: Sequence[str]
) -> tuple[str, Tensor, Sequence[str]]:
    """The task, the target as numbers, and the names of its classes."""
    values = target if isinstance(target, Tensor) else np.asarray(target)
    if isinstance(values, np.ndarray) and values.dtype.kind in "OUSb":
        found, values = np.unique(values.astype(str), return_inverse=True)
        labels = labels or found.tolist()
    numbers = arrays.to_tensor(values)
    if task == "auto":
        task = "regression" if numbers.is_floating_point() else "classification"
    if task != "classification":
        return task, numbers.float().reshape(len(numbers), -1), labels
    return task, numbers.long(), labels or [str(i) for i in range(int(numbers.max()) + 1)]


def from_frame(
    frame: pandas.DataFrame,
    target: str | Sequence[str],
    *,
    seed: int = 0,
    split_seed: int | None = None,
    task: str = "auto",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    standardize: bool = True,
    name: str = "frame",
) -> Data:
    """`Data` of a DataFrame: `target` names its column (or columns, for regression), all others are features.

    Texts and categories among the features become a column of 0 and 1 for each of their values. Raises `DataError` for
    a target that is no column, missing values, and what `from_arrays` refuses.
    """
    import pandas

    names = [target] if isinstance(target, str) else list(target)
    for column in names:
        if column not in frame.columns:
            hint = did_you_mean(column, map(str, frame.columns)) or f"Columns: {', '.join(map(str, frame.columns))}."
            raise DataError(f"{name}: there is no column {column!r}. {hint}")
    if missing := [str(column) for column in frame.columns if frame[column].isna().any()]:
        raise DataError(f"{name}: values are missing in {', '.join(missing)}. Fill them, or drop these rows.")
    features = pandas.get_dummies(frame.drop(columns=names), dtype=float)
    return from_arrays(
        features.to_numpy(dtype=np.float32),
        frame[names[0]].to_numpy() if len(names) == 1 else frame[names].to_numpy(dtype=np.float32),
        seed=seed,
        split_seed=split_seed,
        task=task,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        standardize=standardize,
        feature_names=[str(column) for column in features.columns],
        name=name,
    )

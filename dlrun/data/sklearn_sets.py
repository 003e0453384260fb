"""The small real data sets that scikit-learn ships: nothing is downloaded."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.arrays import from_arrays
from dlrun.data.base import Data
from dlrun.data.splits import file_order
from dlrun.errors import ConfigError, Problem


def digits(
    *, seed: int, root: Path, test_fraction: float = 0.2, val_fraction: float = 0.2, split_seed: int | None = None
) -> Data:
    """1,797 handwritten digits (N, 1, 8, 8), uint8 from 0 to 16 scaled to [0, 1] (Alpaydin and Kaynak 1998)."""
    images, targets = read_digits()
    return from_arrays(
        "digits",
        "classification",
        "image",
        images[:, None],
        targets,
        seed=seed,
        split_seed=split_seed,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
        scale=16.0,
        labels=[str(digit) for digit in range(10)],
    )


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8), uint8, and classes, int64, as `sklearn.datasets.load_digits` gives them.

    Read from scikit-learn's own file: importing `sklearn.datasets` takes longer than a short run on digits. Where
    another version keeps the file elsewhere, scikit-learn is asked.
    """
    package = find_spec("sklearn")
    file = Path(package.origin).parent / "datasets/data/digits.csv.gz" if package and package.origin else None
    if file is not None and file.is_file():
        table = read_numbers(file)
        return table[:, :-1].reshape(-1, 8, 8).copy(), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


@cache
def read_numbers(file: Path) -> np.ndarray:
    """The table of a file that scikit-learn ships, read once a process. Do not change it."""
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    table.flags.writeable = False
    return table


def breast_cancer(
    *,
    seed: int,
    root: Path,
    standardize: bool = True,
    split: str = "stratified",
    test_fraction: float = 0.2,
    val_fraction: float = 0.25,
    split_seed: int | None = None,
) -> Data:
    """569 tumours by 30 features of their cell nuclei: malignant 0, benign 1 (Street, Wolberg and Mangasarian 1993).

    `split=file_order` cuts the file in its order, 342/113/114 at these fractions: see
    `splits.file_order` for why it misleads (trap T22).
    """
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    if split not in ("stratified", "file_order"):
        raise ConfigError(Problem("dataset.split", f"{split!r} is not known.", "Allowed: stratified, file_order."))
    rows = file_order(len(bunch.target), val_fraction, test_fraction) if split == "file_order" else None
    return _table(bunch, "breast_cancer", (seed, split_seed), standardize, test_fraction, val_fraction, rows=rows)


def iris(
    *,
    seed: int,
    root: Path,
    standardize: bool = True,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """150 iris flowers of three species, 4 features (Fisher 1936)."""
    from sklearn.datasets import load_iris

    return _table(load_iris(), "iris", (seed, split_seed), standardize, test_fraction, val_fraction)


def wine(
    *,
    seed: int,
    root: Path,
    standardize: bool = True,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """178 wines of three growers, 13 features of a chemical analysis (Aeberhard, Coomans and de Vel 1992)."""
    from sklearn.datasets import load_wine

    return _table(load_wine(), "wine", (seed, split_seed), standardize, test_fraction, val_fraction)


def diabetes(
    *,
    seed: int,
    root: Path,
    standardize: bool = True,
    standardize_target: bool = True,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """442 patients, 10 features; the target (N, 1) is the progress of the disease after a year, 25 to 346
    (Efron, Hastie, Johnstone and Tibshirani 2004).

    With `standardize_target` loss and MAE are in standard deviations; `preprocess.restore_target` undoes it.
    """
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    return from_arrays(
        "diabetes",
        "regression",
        "tabular",
        bunch.data,
        bunch.target[:, None],
        seed=seed,
        split_seed=split_seed,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
        standardize=standardize,
        standardize_target=standardize_target,
        feature_names=list(bunch.feature_names),
        target_names=["progression"],
        notes=["loss and MAE are in standard deviations of the target"] if standardize_target else [],
    )


def _table(
    bunch: Any, name: str, seeds: tuple[int, int | None], standardize: bool, test: float, val: float, **options: Any
) -> Data:
    """A table of numbers with a class to each row. `seeds` are the seed and `split_seed`."""
    return from_arrays(
        name,
        "classification",
        "tabular",
        bunch.data,
        bunch.target.astype(np.int64),
        seed=seeds[0],
        split_seed=seeds[1],
        test_fraction=test,
        val_fraction=val,
        standardize=standardize,
        labels=[str(label) for label in bunch.target_names],
        feature_names=[str(feature) for feature in bunch.feature_names],
        **options,
    )

"""Images on disk, a folder a class: `PATH/cat/1.png`, `PATH/dog/2.jpg`, ...

They are decoded when they are needed, or once if they fit in memory (`batches.batches_for` decides), and
resized to one size as uint8 (C, H, W). What can be known beforehand is found before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrun.data.augment import build_augment, check_augment
from dlrun.data.base import Data, Loading, Split, from_parts
from dlrun.data.images import ImageRows, file_leaks, scan
from dlrun.data.paths import resolve
from dlrun.data.splits import split
from dlrun.errors import ConfigError, DataError, Problem, did_you_mean

MODES = {"rgb": "RGB", "grey": "L"}


def image_folder(
    *,
    seed: int,
    root: Path,
    path: str | None = None,
    train_path: str | None = None,
    test_path: str | None = None,
    size: int | Sequence[int] = 32,
    colour: str = "rgb",
    augment: Sequence[Any] = (),
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    in_memory: bool | str = "auto",
    workers: int | str = "auto",
) -> Data:
    """Images (N, C, H, W) and their class, the name of their folder.

    `path` is split; or `train_path` and `test_path` are folders of their own (without `test_path`, test is a
    part of train). `size` is a side or (height, width); `mean` and `std` are of pixels in [0, 1], one or one
    a channel. Raises `ConfigError` for keys that do not go together, `DataError` for what is wrong with the
    files.
    """
    height, width = _pair(size)
    channels = 3 if colour == "rgb" else 1
    folder, test_folder = _folders(path, train_path, test_path)
    steps = {"scale": 255.0, "mean": _by_channel("mean", mean, channels), "std": _by_channel("std", std, channels)}
    change = build_augment(augment) if augment else None
    labels, files, numbers = scan(folder)
    rest, test_files, test_numbers = _test_rows(test_folder, labels, files, numbers, test_fraction, seed)
    target = torch.tensor(numbers)
    left, taken = split(len(rest), val_fraction, seed, "val", target[rest], labels)

    def part(names: list[Path], classes: Tensor) -> Split | None:
        rows = ImageRows(names, classes.tolist(), (height, width), MODES[colour])
        return Split((), classes, rows) if names else None

    train = part([files[i] for i in rest[left]], target[rest][left])
    assert train is not None, "split leaves rows in train"
    if change is not None:
        check_augment(change, train.dataset[0][0], seed)  # type: ignore[index]
        train = Split((), train.target, train.dataset, change)
    notes = [f"{len(files)} images of {len(labels)} classes from {folder}"]
    return from_parts(
        "image_folder",
        "classification",
        "image",
        train,
        part([files[i] for i in rest[taken]], target[rest][taken]),
        part(test_files, test_numbers),
        input_shape=(channels, height, width),
        labels=labels,
        preprocessing={"inputs": [steps]},
        notes=notes,
        remarks=file_leaks([files[i] for i in rest], test_files),
        loading=Loading(in_memory, workers),
    )


def _folders(path: str | None, train_path: str | None, test_path: str | None) -> tuple[Path, Path | None]:
    if (path is None) == (train_path is None):
        what = "give dataset.path (one folder, split here) or dataset.train_path (and dataset.test_path)"
        found = "neither is given." if path is None else "both are given."
        raise ConfigError(Problem("dataset.path", f"{what}: {found}"))
    if path is not None and test_path is not None:
        raise ConfigError(Problem("dataset.test_path", "goes with dataset.train_path, not with dataset.path."))
    return resolve(path or train_path or ""), resolve(test_path) if test_path is not None else None


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2:
        raise ConfigError(Problem("dataset.size", f"{sides} is not one side, or [height, width]."))
    return sides[0], sides[1]


def _by_channel(key: str, value: float | Sequence[float], channels: int) -> list[float]:
    values = [float(value)] * channels if isinstance(value, (int, float)) else [float(v) for v in value]
    if len(values) != channels or (key == "std" and min(values) <= 0):
        what = f"{values} is not one number, or one for each of {channels} channels" + (
            ", above 0." if key == "std" else "."
        )
        raise ConfigError(Problem(f"dataset.{key}", what))
    return values


def _test_rows(
    folder: Path | None, labels: list[str], files: list[Path], numbers: list[int], fraction: float, seed: int
) -> tuple[Tensor, list[Path], Tensor]:
    """(row numbers that are left, test files, their classes): from a folder of their own, else drawn."""
    if folder is None:
        target = torch.tensor(numbers)
        rest, taken = split(len(files), fraction, seed, "test", target, labels)
        return rest, [files[i] for i in taken], target[taken]
    found, test_files, own = scan(folder, least=1)
    strange = sorted(set(found) - set(labels))
    if strange:
        hint = did_you_mean(strange[0], labels)
        raise DataError(
            f"image_folder: {folder} has classes that train lacks: {', '.join(strange[:10])}. {hint}".strip()
        )
    classes = torch.tensor([labels.index(found[number]) for number in own])
    return torch.arange(len(files)), test_files, classes

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
from torch.utils.data import Dataset

from dlrun.data.augment import build_augment, check_augment
from dlrun.data.base import Data, Loading, Split, from_parts
from dlrun.data.image_files import ImageFiles, file_leaks, part_folders, scan
from dlrun.data.images import decode
from dlrun.data.paths import resolve
from dlrun.data.splits import seed_of_test, split
from dlrun.data.transforms import Scale, Standardize, Transform, write_steps
from dlrun.data.vocabulary import LabelMap
from dlrun.errors import ConfigError, DataError, Problem, did_you_mean
from dlrun.spec import DataSpec

MODES = {"rgb": "RGB", "grey": "L"}


def image_folder(
    *,
    seed: int,
    root: Path,
    path: str | None = None,
    train_path: str | None = None,
    val_path: str | None = None,
    test_path: str | None = None,
    size: int | Sequence[int] = 32,
    color: str = "rgb",
    augment: Sequence[Any] = (),
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
    in_memory: bool | str = "auto",
    workers: int | str = "auto",
) -> Data:
    """Images (N, C, H, W) and their class, the name of their folder.

    `path` is split, or holds folders of train, val and test already; or `train_path`, `val_path` and `test_path` are
    folders of their own (one that is missing is drawn from train). `size` is a side or (height, width); `mean` and
    `std` are of pixels in [0, 1], one or one a channel. Raises `ConfigError` for keys that do not go together,
    `DataError` for what is wrong with the files.
    """
    height, width = sides_of(size)
    channels = 3 if color == "rgb" else 1
    folders = image_folders(path, train_path, val_path, test_path)
    center, spread = by_channel("mean", mean, channels), by_channel("std", std, channels)
    steps: list[Transform] = [Scale(255.0), Standardize(center, spread)]
    change = build_augment(augment) if augment else None
    found = scan(folders["train"])
    images = {name: _own(folder, found) for name, folder in folders.items() if name != "train"}
    notes = [note for each in (found, *images.values()) for note in each.notes]
    remarks = [remark for each in (found, *images.values()) for remark in each.remarks]
    rows, target = torch.arange(len(found.files)), torch.tensor(found.numbers)
    drawn_by = {"test": seed_of_test(seed, split_seed), "val": seed}
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if name not in images:
            left, taken = split(len(rows), fraction, drawn_by[name], name, target[rows], found.classes)
            rows, images[name] = rows[left], _chosen(found, rows[taken])
    images["train"] = _chosen(found, rows)
    remarks += file_leaks(
        images["train"].files + images["val"].files,
        images["test"].files,
        "test",
        "train or val" if images["val"].files else "train",
    )
    remarks += file_leaks(images["train"].files, images["val"].files, "val")

    def part(name: str) -> Split | None:
        files, numbers = images[name].files, images[name].numbers
        dataset = ImageRows(files, numbers, (height, width), MODES[color])
        return Split((), torch.tensor(numbers), dataset) if files else None

    train = part("train")
    assert train is not None, "split leaves rows in train"
    if change is not None:
        check_augment(change, train.dataset[0][0], seed)  # type: ignore[index]
        train = Split((), train.target, train.dataset, change)
    return from_parts(
        "image_folder",
        "classification",
        "image",
        train,
        part("val"),
        part("test"),
        input_shape=(channels, height, width),
        labels=found.classes,
        preprocessing={"inputs": [write_steps(steps)]},
        notes=notes,
        remarks=remarks,
        loading=Loading(in_memory, workers),
    )


def labelled_rows(spec: DataSpec, path: Path) -> Split:
    """The images of a folder of classes as a trained model knows them. Raises `DataError` for an unknown class."""
    found = scan(path, least=1)
    names = [found.classes[number] for number in found.numbers]
    target = LabelMap(spec.labels).apply(names)
    channels, height, width = spec.input_shape
    mode = MODES["rgb" if channels == 3 else "grey"]
    return Split((), target, ImageRows(found.files, target.tolist(), (height, width), mode))


class ImageRows(Dataset[tuple[Tensor, int]]):
    """Rows `(image (C, H, W) uint8, class)`, decoded from `files` each time. Raises `DataError` naming the file."""

    fixed = True

    def __init__(self, files: Sequence[Path], labels: Sequence[int], size: tuple[int, int], mode: str) -> None:
        self.files = list(files)
        self.labels = list(labels)
        self.size = size
        self.mode = mode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return decode(self.files[index], self.size, self.mode), self.labels[index]


def image_folders(path: str | None, train: str | None, val: str | None, test: str | None) -> dict[str, Path]:
    """The folder of each part that has one, train first."""
    if (path is None) == (train is None):
        what = "give dataset.path (one folder, split here) or dataset.train_path (and dataset.test_path)"
        found = "neither is given." if path is None else "both are given."
        raise ConfigError(Problem("dataset.path", f"{what}: {found}"))
    given = {name: folder for name, folder in (("val", val), ("test", test)) if folder is not None}
    if train is not None:
        return {name: resolve(folder) for name, folder in {"train": train, **given}.items()}
    if given:
        key = f"dataset.{next(iter(given))}_path"
        raise ConfigError(Problem(key, "goes with dataset.train_path, not with dataset.path."))
    whole = resolve(path or "")
    return part_folders(whole) or {"train": whole}


def sides_of(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width."""
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2:
        raise ConfigError(Problem("dataset.size", f"{sides} is not one side, or [height, width]."))
    return sides[0], sides[1]


def by_channel(key: str, value: float | Sequence[float], channels: int) -> list[float]:
    """One number for each channel."""
    values = [float(value)] * channels if isinstance(value, (int, float)) else [float(v) for v in value]
    if len(values) != channels or (key == "std" and min(values) <= 0):
        what = f"{values} is not one number, or one for each of {channels} channels" + (
            ", above 0." if key == "std" else "."
        )
        raise ConfigError(Problem(f"dataset.{key}", what))
    return values


def _own(folder: Path, train: ImageFiles) -> ImageFiles:
    """The images of a part that has a folder of its own, numbered as the classes of train."""
    found = scan(folder, least=1)
    strange = sorted(set(found.classes) - set(train.classes))
    if strange:
        hint = did_you_mean(strange[0], train.classes)
        raise DataError(
            f"image_folder: {folder} has classes that train lacks: {', '.join(strange[:10])}. {hint}".strip()
        )
    return found._replace(numbers=[train.classes.index(found.classes[number]) for number in found.numbers])


def _chosen(images: ImageFiles, rows: Tensor) -> ImageFiles:
    """The files of these rows."""
    chosen = rows.tolist()
    return images._replace(files=[images.files[i] for i in chosen], numbers=[images.numbers[i] for i in chosen])

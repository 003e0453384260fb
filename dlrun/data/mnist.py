"""MNIST (LeCun, Cortes and Burges 1998) and Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 28 x 28 grey
images.

The files are where torchvision puts them, ROOT/MNIST/raw and ROOT/FashionMNIST/raw, as they are or as .gz;
what is missing is downloaded. Images stay uint8 (N, 1, 28, 28) and are normalized by the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlrun.data.base import Data, Loading, Split, from_parts
from dlrun.data.download import fetch, gunzip
from dlrun.data.idx import read_idx
from dlrun.data.leaks import overlap_notes
from dlrun.data.splits import split
from dlrun.data.transforms import Scale, Standardize, write_steps
from dlrun.errors import ConfigError, DataError, Problem

FASHION_LABELS = "T-shirt, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"


@dataclass(frozen=True)
class DownloadSource:
    """One of the two: folder, hosts, MD5 of the .gz files, and bytes and MD5 of what is in them."""

    name: str
    folder: str
    hosts: tuple[str, ...]
    packed: dict[str, str]
    content: dict[str, tuple[int, str]]
    labels: tuple[str, ...]


MNIST = DownloadSource(
    "mnist",
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    {
        "train-images-idx3-ubyte": (47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": (60_008, "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": (7_840_016, "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": (10_008, "27ae3e4e09519cfbb04c329615203637"),
    },
    tuple("0123456789"),
)
FASHION = DownloadSource(
    "fashion_mnist",
    "FashionMNIST",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    {},
    tuple(FASHION_LABELS.split(", ")),
)


def mnist(
    *,
    seed: int,
    root: Path,
    task: str = "classification",
    mean: float = 0.1307,
    std: float = 0.3081,
    classes: Sequence[int] | None = None,
    limit: int | None = None,
    val_fraction: float = 0.1,
    in_memory: bool | str = "auto",
    workers: int | str = "auto",
) -> Data:
    """Handwritten digits: 60,000 train and 10,000 test images (N, 1, 28, 28).

    `classes` keeps those digits only, numbered from 0 in the order given; `limit` keeps the first rows of
    train (after `classes`, before the split). Raises `ConfigError` for classes that do not exist,
    `DataError` for files that are missing or damaged.
    """
    loading = Loading(in_memory, workers)
    return _load(MNIST, seed, root, task, (mean, std), classes, limit, val_fraction, loading)


def fashion_mnist(
    *,
    seed: int,
    root: Path,
    task: str = "classification",
    mean: float = 0.286,
    std: float = 0.353,
    classes: Sequence[int] | None = None,
    limit: int | None = None,
    val_fraction: float = 0.1,
    in_memory: bool | str = "auto",
    workers: int | str = "auto",
) -> Data:
    """Photographs of clothes in ten classes, in MNIST's form; the arguments are those of `mnist`."""
    loading = Loading(in_memory, workers)
    return _load(FASHION, seed, root, task, (mean, std), classes, limit, val_fraction, loading)


def _load(
    source: DownloadSource,
    seed: int,
    root: Path,
    task: str,
    normalize: tuple[float, float],
    classes: Sequence[int] | None,
    limit: int | None,
    val_fraction: float,
    loading: Loading,
) -> Data:
    chosen = _check_classes(classes)
    folder = root / source.folder / "raw"
    train = _choose(_read_part(source, folder, "train"), chosen, limit)
    test = _choose(_read_part(source, folder, "t10k"), chosen, None)
    labels = [source.labels[c] for c in chosen]
    for name, part in (("train", train), ("test", test)):
        if part.samples == 0:
            raise DataError(f"dataset {source.name}: no {name} image of the classes {', '.join(labels)} in {folder}.")
    rest, taken = _split(train, val_fraction, seed, labels)
    return from_parts(
        source.name,
        task,
        "image",
        train.take(rest) if len(taken) else train,
        train.take(taken) if len(taken) else None,
        test,
        labels=labels,
        fixed_labels=True,
        preprocessing={"inputs": [write_steps([Scale(255.0), Standardize([normalize[0]], [normalize[1]])])]},
        notes=[f"{source.name} from {folder}"],
        remarks=overlap_notes(train, test),
        loading=loading,
    )


def _split(train: Split, fraction: float, seed: int, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Row numbers (train, val), by class where `limit` leaves enough rows; of a handful there is no val."""
    wanted, counts = round(train.samples * fraction), train.target.bincount(minlength=len(labels))
    by_class = wanted >= len(labels) and int(counts.min()) > 1
    return split(train.samples, fraction if wanted else 0.0, seed, "val", train.target if by_class else None, labels)


def _check_classes(classes: Sequence[int] | None) -> list[int]:
    chosen = list(range(10)) if classes is None else list(classes)
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(10)) or len(chosen) < 2:
        what = f"{chosen} is no choice of at least two different classes from 0 to 9."
        raise ConfigError(Problem("dataset.classes", what))
    return chosen


def _choose(part: Split, classes: list[int], limit: int | None) -> Split:
    """The rows of these classes, renumbered, and of those the first `limit`."""
    if classes != list(range(10)):
        numbers = torch.full((10,), -1)
        numbers[torch.tensor(classes)] = torch.arange(len(classes))
        target = numbers[part.target]
        part = Split(part.inputs, target).take((target >= 0).nonzero()[:, 0])
    return part if limit is None else Split((part.inputs[0][:limit],), part.target[:limit])


def _read_part(source: DownloadSource, folder: Path, part: str) -> Split:
    images = _read_file(source, folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read_file(source, folder, f"{part}-labels-idx1-ubyte", 1)
    if images.shape[0] != labels.shape[0]:
        raise DataError(f"{folder}: {images.shape[0]} {part} images but {labels.shape[0]} labels.")
    if tuple(images.shape[1:]) != (28, 28):
        raise DataError(f"{folder}: the {part} images are {tuple(images.shape[1:])}, not (28, 28).")
    if labels.numel() and int(labels.max()) > 9:
        raise DataError(f"{folder}: the {part} labels go up to {int(labels.max())}, not 9.")
    return Split((images.unsqueeze(1),), labels.to(torch.int64))


def _read_file(source: DownloadSource, folder: Path, name: str, dimensions: int) -> Tensor:
    """One file: as it is, else its .gz, else downloaded, unpacked and read."""
    path, packed = folder / name, folder / f"{name}.gz"
    known = source.content.get(name)
    if not path.exists() and packed.exists():
        path = packed
    elif not path.exists():
        relative = f"{source.folder}/raw/{name}.gz"
        try:
            fetch(relative, [f"{host}{name}.gz" for host in source.hosts], packed, md5=source.packed[name])
            gunzip(packed, path, check=lambda file: read_idx(file, dimensions, known))
            packed.unlink()
        except DataError as error:
            raise DataError(_missing(source, folder, name, str(error))) from error
    return torch.from_numpy(read_idx(path, dimensions, known))


def _missing(source: DownloadSource, folder: Path, name: str, reason: str) -> str:
    return (
        f"dataset {source.name}: {name} is missing. Looked for it, and for {name}.gz, in {folder}; {reason}. "
        f"Put it there by hand (from {source.hosts[0]}), or name the folder that holds {source.folder}/raw "
        "by dataset.root=... or DLRUN_DATA. `dataset=digits` works offline."
    )

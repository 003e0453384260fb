"""Image files: found, checked by their headers, decoded. The folder of an image is its class."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dlrun.data.leaks import overlap_keys
from dlrun.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
CHECKED = 20_000  # files whose headers are read beforehand, about 0.1 ms each


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


def scan(folder: Path, least: int = 2) -> tuple[list[str], list[Path], list[int]]:
    """(classes, files, class of each file), sorted by name.

    Raises `DataError` for fewer than `least` classes, an empty class, and files that are no images (by their
    headers, the first `CHECKED`).
    """
    if not folder.is_dir():
        raise DataError(f"image_folder: {folder} is no folder. It should hold a folder of images for each class.")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < least:
        found = f"only {classes[0]}" if classes else "none"
        raise DataError(
            f"image_folder: {folder} should hold a folder of images for each class, {least} or more, but has {found}."
        )
    files: list[Path] = []
    numbers: list[int] = []
    for number, name in enumerate(classes):
        images = sorted(
            file for file in (folder / name).rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        )
        if not images:
            raise DataError(
                f"image_folder: class {name} is empty: no image in {folder / name} ({', '.join(SUFFIXES)})."
            )
        files += images
        numbers += [number] * len(images)
    check_headers(files[:CHECKED])
    return classes, files, numbers


def check_headers(files: Sequence[Path]) -> None:
    """Raise `DataError` with the first ten files that do not begin like an image."""
    from PIL import Image

    bad = []
    for file in files:
        try:
            with Image.open(file):
                pass
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            bad.append(f"{file} ({_short(error)})")
    if bad:
        more = f", and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise DataError(f"image_folder: cannot be decoded: {', '.join(bad[:10])}{more}. Remove or replace them.")


def decode(file: Path, size: tuple[int, int], mode: str) -> Tensor:
    """One image as (C, H, W) uint8, of `size` (height, width), PIL `mode` RGB or L. Raises `DataError` naming it."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I"):  # 16 bits: PIL would clip at 255, not scale
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            elif image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # PIL warns if this step is left out
            pixels = np.array(image.convert(mode).resize(size[::-1], Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be decoded ({_short(error)}). Remove or replace it.") from error
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _short(error: Exception) -> str:
    return str(error).split(":")[0].split("'/")[0].strip() or type(error).__name__


def file_leaks(train: list[Path], test: list[Path]) -> list[str]:
    """Test files that are also in train, byte for byte: only files of equal length are read."""
    sizes = [{file.stat().st_size for file in files} for files in (train, test)]
    both = sizes[0] & sizes[1]
    keys = [
        [md5(file.read_bytes(), usedforsecurity=False).hexdigest() for file in files if file.stat().st_size in both]
        for files in (train, test)
    ]
    count = overlap_keys(keys[0], keys[1])
    if not count:
        return []
    share = f"{count} of {len(test)} test images ({count / len(test):.1%})"
    return [f"{share} are also in train: test is not pure generalisation"]

"""Image files in folders: which there are, of which class, and what else lies there. A folder is a class."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

from dlrun.data.files import LISTED
from dlrun.data.images import HEIC_ENDINGS, NEEDS_HEIF, darkness, needs_look, open_image, reads_heic
from dlrun.data.leaks import overlap_keys
from dlrun.errors import DataError

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".avif", ".tga", *HEIC_ENDINGS),
)
HIDDEN = ("__MACOSX", "@eaDir")  # and what begins with a dot: not the user's
CHECKED = 20_000  # files whose headers are read beforehand, about 0.1 ms each
LOOKED_AT = 8  # of those with 16 bits or floats, whose values are looked at beforehand
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class ImageFiles(NamedTuple):
    """Classes and files, sorted by name, the class of each file, and what `Data` calls notes and remarks."""

    classes: list[str]
    files: list[Path]
    numbers: list[int]
    notes: list[str]
    remarks: list[str]


def scan(folder: Path, least: int = 2, check: bool = True) -> ImageFiles:
    """The images of a folder that holds a folder for each class.

    A file is an image by its ending, or, with another one or none, by its content; all else is counted in a note.
    Links are followed; hidden files and folders do not count. Raises `DataError` for fewer than `least` classes, an
    empty class, and, with `check`, files that end as images do but are none (by their headers, the first `CHECKED`).
    """
    classes = class_folders(folder)
    if len(classes) < least:
        there = f"only {classes[0]}" if classes else "none"
        raise DataError(
            f"image_folder: {folder} should hold a folder of images for each class, {least} or more, but has {there}."
        )
    skipped: Counter[str] = Counter()
    beside = sum(not entry.is_dir() and not hidden(entry.name) for entry in folder.iterdir())
    skipped.update({"beside the class folders": beside} if beside else {})
    files: list[Path] = []
    numbers: list[int] = []
    for number, name in enumerate(classes):
        here: Counter[str] = Counter()
        images = [file for file in walk(folder / name, here) if is_image(file, here)]
        if not images:
            left = f" Skipped there: {_counted(here)}." if here else f" It may hold {', '.join(ENDINGS)}."
            left += f" {NEEDS_HEIF}." if any(ending in here for ending in HEIC_ENDINGS) else ""
            raise DataError(f"image_folder: class {name} is empty: no image in {folder / name}.{left}")
        files += images
        numbers += [number] * len(images)
        skipped += here
    notes = [f"{len(files)} images of {len(classes)} classes from {folder}"]
    notes += [f"not used of {folder}: {_counted(skipped)}"] if skipped else []
    heic = sum(skipped[ending] for ending in HEIC_ENDINGS)
    remarks = [f"{heic} HEIC images of {folder} are not used. {NEEDS_HEIF}"] if heic else []
    remarks += check_headers(files[:CHECKED]) if check else []
    return ImageFiles(classes, files, numbers, notes, remarks)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in it, sorted. Raises `DataError` where there is no such folder."""
    try:
        entries = list(folder.iterdir())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"image_folder: {folder} is no folder that can be read ({why}). It should hold a folder of images for "
            "each class."
        ) from error
    return sorted(entry.name for entry in entries if not hidden(entry.name) and entry.is_dir())


def part_folders(folder: Path) -> dict[str, Path] | None:
    """The folders of train, val and test, where `folder` holds such instead of classes; None where it does not.

    Two of them at least make it such a folder. Raises `DataError` for another folder beside them, no train, or no
    classes inside.
    """
    names = class_folders(folder)
    parts = {PARTS[name.casefold()]: folder / name for name in names if name.casefold() in PARTS}
    if len(parts) < 2:
        return None
    hint = "Name them by dataset.train_path, dataset.val_path and dataset.test_path."
    others = [name for name in names if folder / name not in parts.values()]
    if others or "train" not in parts:
        what = f"also {', '.join(others[:LISTED])}" if others else "no train"
        there = ", ".join(path.name for path in parts.values())
        raise DataError(f"image_folder: {folder} holds {there}, which are parts and not classes, and {what}. {hint}")
    for path in parts.values():
        if not class_folders(path):
            raise DataError(f"image_folder: {path} should hold a folder of images for each class, but has none. {hint}")
    return parts


def walk(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The regular files in a folder and below, sorted, links followed and no folder twice; others are counted."""
    files: list[Path] = []
    seen = {(folder.stat().st_dev, folder.stat().st_ino)}
    left = [folder]
    while left:
        here = left.pop()
        try:
            entries = list(here.iterdir())
        except OSError as error:
            raise DataError(f"image_folder: {here}: cannot be read ({error.strerror or error}).") from error
        for path in entries:
            try:
                found = path.stat()
            except OSError:
                skipped["broken link"] += 1
                continue
            if hidden(path.name):
                skipped[f"hidden {path.name}" if stat.S_ISDIR(found.st_mode) else "hidden file"] += 1
            elif stat.S_ISDIR(found.st_mode):
                if (found.st_dev, found.st_ino) not in seen:
                    left.append(path)
                seen.add((found.st_dev, found.st_ino))
            elif stat.S_ISREG(found.st_mode):
                files.append(path)
            else:
                skipped["pipe or device"] += 1
    return sorted(files)


def hidden(name: str) -> bool:
    """Made by a system or an editor: `.ipynb_checkpoints`, `.DS_Store`, `__MACOSX`."""
    return name.startswith(".") or name in HIDDEN


def is_image(file: Path, skipped: Counter[str]) -> bool:
    """By its ending, else by its content; what is none is counted by its ending."""
    ending = file.suffix.lower()
    if ending in ENDINGS:
        usable = ending not in HEIC_ENDINGS or reads_heic()
    else:
        try:
            with open_image(file):
                usable = True
        except DataError:
            usable = False
    if not usable:
        skipped[ending or "without an ending"] += 1
    return usable


def _counted(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in skipped.most_common(LISTED))


def check_headers(files: Sequence[Path]) -> list[str]:
    """What `darkness` says of them. Raises `DataError` with the first ten files that do not begin like an image."""
    bad: list[str] = []
    looked: list[Path] = []
    for file in files:
        try:
            with open_image(file) as image:
                if len(looked) < LOOKED_AT and needs_look(image):
                    looked.append(file)
        except DataError as error:
            bad.append(str(error).removesuffix(". Remove or replace it.").replace(": cannot be decoded", ""))
    if bad:
        more = f", and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise DataError(f"image_folder: cannot be decoded: {', '.join(bad[:LISTED])}{more}. Remove or replace them.")
    return darkness(looked)


def file_leaks(train: list[Path], test: list[Path], name: str, seen: str = "train") -> list[str]:
    """Files of the part `name` that are also in `seen`, byte for byte: only files of equal length are read."""
    sizes = [{file.stat().st_size for file in files} for files in (train, test)]
    both = sizes[0] & sizes[1]
    keys = [
        [md5(file.read_bytes(), usedforsecurity=False).hexdigest() for file in files if file.stat().st_size in both]
        for files in (train, test)
    ]
    count = overlap_keys(*keys)
    if not count:
        return []
    share = f"{count} of {len(test)} {name} images ({count / len(test):.1%})"
    return [f"{share} are also in {seen}: {name} is not pure generalization"]

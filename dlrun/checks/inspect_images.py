"""What is in a folder of images: sizes, modes, broken ones, the balance of classes, images that are there twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from dlrun.checks.findings import Findings, balance_table, share
from dlrun.config.overrides.values import as_text
from dlrun.data.files import LISTED
from dlrun.data.image_files import CHECKED, ImageFiles, part_folders, scan
from dlrun.data.images import open_image, pixels_of
from dlrun.errors import DataError, count_of
from dlrun.plain import Values
from dlrun.report import tables

MOST_PIXELS = 10**9  # that are decoded, some 20 s
PARTS = ("train", "val", "test")
SIDES = range(8, 129)  # sizes that a model may be trained at without making them smaller


@dataclass
class Seen:
    """What was seen of the files of one part."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    prints: dict[bytes, list[int]] = field(default_factory=dict)  # of pixels: the classes of the images that have them
    looked: int = 0
    decoded: int = 0

    @property
    def twice(self) -> int:
        """Images whose pixels are those of an earlier one."""
        return self.decoded - len(self.prints)


def inspect_images(path: str, folder: Path) -> Findings:
    """The findings on a folder of classes, or of train, val and test with classes inside. Raises `DataError`."""
    parts = part_folders(folder)
    folders = {name: parts[name] for name in PARTS if name in parts} if parts else {"train": folder}
    found = {name: scan(each, 2 if name == "train" else 1, check=False) for name, each in folders.items()}
    left = [MOST_PIXELS]
    seen = {name: look(files, left) for name, files in found.items()}
    counts = {name: balance(files) for name, files in found.items()}
    facts: Values = {
        "kind": "images",
        "paths": [path],
        "parts": {name: describe_part(seen[name], counts[name]) for name in found},
    }
    facts["in_both"] = {f"{a} and {b}": shared(seen[a], seen[b]) for a, b in pairs(list(found))}
    facts["two_classes"] = count_in_two_classes(found, seen)
    shown = [parts_table(facts["parts"], parts is None)]
    shown += [balance_table("classes" if parts is None else f"classes of {name}", counts[name]) for name in found]
    broken = [each for part in seen.values() for each in part.broken]
    remarks = [remark for files in found.values() for remark in files.remarks]
    if broken:
        more = f", and {len(broken) - LISTED} more" if len(broken) > LISTED else ""
        what = f"cannot be decoded, to be removed or replaced before training: {count_of(len(broken), 'image')}"
        remarks.append(f"{what}: {', '.join(broken[:LISTED])}{more}")
    remarks += doubles(facts, seen, parts is None)
    notes = [note for files in found.values() for note in files.notes]
    return Findings(facts, notes, shown, remarks, command_of(path, seen))


def look(files: ImageFiles, left: list[int]) -> Seen:
    """Look at the images of one part: at the headers of `CHECKED` of them, drawn at random where there are more, and
    at their pixels as long as `left` allows.
    """
    seen = Seen()
    order = np.random.default_rng(0).permutation(len(files.files))[:CHECKED]
    for i in order.tolist():
        seen.looked += 1
        try:
            with open_image(files.files[i]) as image:
                size, mode, format = image.size, image.mode, str(image.format)
                pixels = size[0] * size[1]
                key = None
                if pixels <= left[0]:
                    left[0] -= pixels
                    key = blake2b(
                        np.asarray(pixels_of(image, "RGB")).tobytes(), person=f"{size[0]}x{size[1]}".encode()
                    ).digest()
        except DataError as error:
            seen.broken.append(str(error).removesuffix(". Remove or replace it.").replace(": cannot be decoded", ""))
            continue
        seen.sizes[size] += 1
        seen.modes[mode] += 1
        seen.formats[format] += 1
        if key is not None:
            seen.decoded += 1
            seen.prints.setdefault(key, []).append(files.numbers[i])
    return seen


def balance(files: ImageFiles) -> dict[str, int]:
    """How many images each class has."""
    counts = Counter(files.numbers)
    return {name: counts[number] for number, name in enumerate(files.classes)}


def describe_part(seen: Seen, counts: dict[str, int]) -> Values:
    """One part in plain values."""
    return {
        "images": sum(counts.values()), "classes": counts,
        "sizes": {f"{width}x{height}": count for (width, height), count in seen.sizes.most_common()},
        "modes": dict(seen.modes.most_common()), "formats": dict(seen.formats.most_common()),
        "broken": seen.broken, "looked_at": seen.looked, "decoded": seen.decoded, "duplicates": seen.twice,
    }  # fmt: skip


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Every two parts."""
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def shared(first: Seen, second: Seen) -> int:
    """How many images of the second part have the pixels of one of the first."""
    return sum(len(classes) for key, classes in second.prints.items() if key in first.prints)


def count_in_two_classes(found: dict[str, ImageFiles], seen: dict[str, Seen]) -> int:
    """How many pictures are in two classes."""
    labels: dict[bytes, set[str]] = {}
    for name, part in seen.items():
        for key, numbers in part.prints.items():
            labels.setdefault(key, set()).update(found[name].classes[number] for number in numbers)
    return sum(len(classes) > 1 for classes in labels.values())


def parts_table(parts: Values, whole: bool) -> tables.Table:
    """The table of the parts."""
    rows = [
        (
            "all" if whole else name, f"{part['images']:,}", few(part["sizes"]), few(part["modes"]),
            few(part["formats"]),
            f"{len(part['broken']):,}", f"{part['duplicates']:,}",
        )
        for name, part in parts.items()
    ]  # fmt: skip
    headers = ["part", "images", "sizes", "modes", "formats", "broken", "there twice"]
    return tables.Table(headers, rows, spare=["formats", "modes"], elsewhere="all with --json")


def few(counts: dict[str, int]) -> str:
    """The commonest three, and how many others there are."""
    shown = [f"{name} ({count:,})" if len(counts) > 1 else name for name, count in list(counts.items())[:3]]
    return ", ".join([*shown, *([f"{len(counts) - 3} others"] if len(counts) > 3 else [])])


def doubles(facts: Values, seen: dict[str, Seen], whole: bool) -> list[str]:
    """Remarks on pixels that are there twice, and on what was not looked at."""
    lines = []
    for name, part in seen.items():
        where, images = "" if whole else f" of {name}", facts["parts"][name]["images"]
        if part.twice:
            again = f"{count_of(part.twice, 'image')}{where} ({share(part.twice, part.decoded)})"
            lines.append(f"{again} repeat the pixels of another")
        if part.decoded + len(part.broken) < images:
            looked = f"the headers of {part.looked:,} and the pixels of {part.decoded:,}"
            lines.append(f"of {images:,} images{where}, {looked} were looked at")
    lines += [f"in {both}: {count_of(count, 'image')}" for both, count in facts["in_both"].items() if count]
    if facts["two_classes"]:
        lines.append(f"in two classes: {count_of(facts['two_classes'], 'picture')}")
    return lines


def command_of(path: str, seen: dict[str, Seen]) -> list[str]:
    """The command that trains on the folder, at the size and in the colors that all images have."""
    words = ["model=cnn", "dataset=image_folder", f"dataset.path={as_text(path)}"]
    sizes = set().union(*(part.sizes for part in seen.values()))
    if len(sizes) == 1 and all(side in SIDES for side in next(iter(sizes))):
        width, height = next(iter(sizes))
        words.append(f"dataset.size={width}" if width == height else f"dataset.size=[{height},{width}]")
    if set().union(*(part.modes for part in seen.values())) <= {"L", "1"}:
        words.append("dataset.color=grey")
    return words

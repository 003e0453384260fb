"""`dlrun show`: samples of a data set. Images are drawn into a PNG file; texts, sequences and tables are printed.

Rows are shown as stored, without augmentation, in the order of the test part, or of another part if there is none.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.errors import ConfigError, Problem
from dlrun.plain import four_digits, say
from dlrun.report.tables import Table, shorten
from dlrun.report.tiles import draw_tiles, to_pixels

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dlrun.config.config import Config
    from dlrun.data.base import Data, Split
    from dlrun.spec import DataSpec

LISTED_FEATURES = 8  # of a table, besides the target
WIDTH = 48  # characters of a text
LISTED_CLASSES = 30  # listed one by one
MOST_COLUMNS = 8  # of a grid of images


def show_command(config: Config, *, count: int, output: str | None) -> int:
    """Print a description of the configured data and `count` samples. Returns the exit code.

    `output` is the file to write: by default outputs/show/DATASET.png for images, and none for text.
    Raises `ConfigError` for a count below 1, `DataError` for data that cannot be read.
    """
    from dlrun.assembly.assemble import build_data

    if count < 1:
        raise ConfigError(Problem("--count", f"{count} samples cannot be shown.", "Give 1 or more."))
    data = build_data(config)
    name, part = next((name, part) for name, part in reversed(data.parts().items()))
    spread = (
        data.spec.input_kind == "text" and data.spec.task == "classification"
    )  # files of texts are often sorted by class
    rows = ShownRows(part, min(count, part.samples), spread)
    say("\n".join(describe_data(data)))
    title = f"{rows.count} of {name}, over all classes:" if spread else f"The first {rows.count} of {name}:"
    if _is_image(data.spec):
        path = Path(output or Path("outputs", "show", f"{data.spec.name}.png"))
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_rows(path, data.spec, rows)
        say(f"\n{title} {path}")
        return 0
    lines = [title, "", *listing(data.spec, rows)]
    say("\n" + "\n".join(lines))
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


class ShownRows:
    """The `inputs` and `target` of the first `count` rows of a part, or of `count` rows spread over its classes."""

    def __init__(self, part: Split, count: int, spread: bool = False) -> None:
        import torch

        self.count = count
        rows = spread_rows(part, count) if spread else list(range(count))
        if part.dataset is None:
            chosen = part.take(rows)
            self.inputs, self.target = chosen.inputs, chosen.target
            return
        items = [part.dataset[row] for row in rows]
        columns = [torch.stack([torch.as_tensor(item) for item in column]) for column in zip(*items, strict=True)]
        self.inputs, self.target = tuple(columns[:-1]), columns[-1]


def spread_rows(part: Split, count: int) -> list[int]:
    """The numbers of the first rows of each class, equally many of each, in the order of the file."""
    seen: Counter[int] = Counter()
    turns = []
    for row, label in enumerate(part.target.reshape(-1).tolist()):
        seen[label] += 1
        turns.append((seen[label], row))
    return sorted(row for _, row in sorted(turns)[:count])


def describe_data(data: Data) -> list[str]:
    """Lines on the task, shapes, parts, notes and targets of the data."""
    spec, parts = data.spec, data.parts()
    shape = " x ".join(str(size) for size in spec.input_shape)
    sizes = ", ".join(f"{part.samples} {name}" for name, part in parts.items())
    lines = [f"{spec.name}: {spec.task} of {spec.input_kind} ({shape}), {sizes}", *data.notes]
    if spec.task == "regression":
        return [*lines, "", *_spread(spec, data.train.target)]
    if spec.task == "reconstruction":
        return lines
    counts = {name: _label_counts(spec, part.target) for name, part in parts.items()}
    names = [_label(spec, number) for number in range(max(len(spec.labels), spec.num_outputs, 2))]
    rows = [[label, *(str(count[i]) for count in counts.values())] for i, label in enumerate(names)]
    if len(rows) > LISTED_CLASSES:
        rows = [*rows[:LISTED_CLASSES], ["...", *("" for _ in counts)]]
    what = {"multilabel": "samples with label", "labelling": "positions by class"}.get(spec.task)
    return [*lines, "", *_lines([what or "samples by class", *counts], rows)]


def captions(spec: DataSpec, rows: ShownRows) -> list[str]:
    """The caption of each image: its class, labels, numbers or, for other tasks, its position."""
    if spec.task == "classification":
        return [f"Ground Truth: {_target(spec, target)}" for target in rows.target]
    if spec.task in ("multilabel", "regression"):
        return [_target(spec, target) for target in rows.target]
    return [f"{i}" for i in range(rows.count)]


def draw_rows(path: Path, spec: DataSpec, rows: ShownRows) -> Path:
    """Write one captioned image for each row: in three columns up to six rows, in a 4:3 grid beyond.

    ShownRows of several images (several inputs, or a target that is a map of classes) have them side by side.
    """
    layers = image_layers(spec, rows)
    images = [layer[i] for i in range(rows.count) for layer in layers]
    blank = [""] * (len(layers) - 1)
    words = [text for caption in captions(spec, rows) for text in (caption, *blank)]
    wide = math.ceil(math.sqrt(rows.count * 4 / 3 / len(layers)))
    abreast = min(rows.count, 3) if rows.count <= 6 and len(layers) == 1 else min(MOST_COLUMNS, wide)
    return draw_tiles(path, images, words, abreast * len(layers))


def image_layers(spec: DataSpec, rows: ShownRows) -> list[np.ndarray]:
    """Every input that is an image, and a target that is a map of classes, as (N, H, W, 3) in [0, 1]."""
    from dlrun.data.transforms import Preparation, scale_of

    steps = Preparation(spec).inputs or [[]] * len(rows.inputs)
    layers = [
        to_pixels(values.numpy(), scale_of(its))
        for values, its in zip(rows.inputs, steps, strict=True)
        if values.ndim == 4
    ]
    if spec.task == "labelling" and rows.target.ndim == 3:
        classes = max(1, spec.num_outputs - 1)
        layers.append(to_pixels(rows.target.clamp_min(0).float().div(classes).numpy()))
    return layers


def listing(spec: DataSpec, rows: ShownRows) -> list[str]:
    """A table with a line for each row: the text or the first features, and the target."""
    if spec.input_kind == "text":
        table = [[_text(spec, rows, i), _target(spec, rows.target[i])] for i in range(rows.count)]
        return _lines(["text", "target"], table)
    features = rows.inputs[0].flatten(1)
    names = list(spec.feature_names) or [f"x{i}" for i in range(features.shape[1])]
    more = len(names) - LISTED_FEATURES
    head = [shorten(name, 16) for name in names[:LISTED_FEATURES]] + ([f"({more} more)"] if more > 0 else [])
    table = []
    for i in range(rows.count):
        cells = [four_digits(float(value)) for value in features[i, :LISTED_FEATURES]] + ([""] if more > 0 else [])
        table.append([*cells, _target(spec, rows.target[i])])
    target = ", ".join(spec.target_names) if spec.task == "regression" and spec.target_names else "target"
    return _lines([*head, target], table)


def _is_image(spec: DataSpec) -> bool:
    return spec.input_kind == "image" or (spec.input_kind == "multi" and len(spec.input_shape) == 3)


def _text(spec: DataSpec, rows: ShownRows, i: int) -> str:
    """The text of a row, without padding."""
    codes, lengths = rows.inputs
    return shorten("".join(spec.vocabulary[code] for code in codes[i, : int(lengths[i])].tolist()), WIDTH)


def _target(spec: DataSpec, target: Tensor) -> str:
    """The target of a row as text."""
    if spec.task == "multilabel":
        names = [_label(spec, k) for k, value in enumerate(target.tolist()) if value > 0.5]
        return ", ".join(names) or "none"
    if spec.task == "regression":
        return ", ".join(f"{value:.4g}" for value in target.reshape(-1).tolist())
    if spec.task == "reconstruction":
        return "itself"
    names = [_label(spec, int(number)) for number in target.reshape(-1).tolist() if number >= 0]
    return ("" if all(len(name) == 1 for name in names) else " ").join(names)


def _label(spec: DataSpec, number: int) -> str:
    return spec.labels[number] if number < len(spec.labels) else str(number)


def _label_counts(spec: DataSpec, target: Tensor) -> Counter[int]:
    """How often each class or label occurs, without padding and unknown ones."""
    if spec.task == "multilabel":
        return Counter({k: int(n) for k, n in enumerate((target > 0.5).sum(0).tolist())})
    numbers, counts = target.long().unique(return_counts=True)
    return Counter({n: c for n, c in zip(numbers.tolist(), counts.tolist(), strict=True) if n >= 0})


def _spread(spec: DataSpec, target: Tensor) -> list[str]:
    """A table of mean, standard deviation, minimum and maximum of each regression target in the training part."""
    values = target.double()
    names = spec.target_names or tuple(f"y{k}" for k in range(values.shape[1]))
    columns = [values.mean(0), values.std(0, correction=0), values.amin(0), values.amax(0)]
    rows = [[name, *(four_digits(float(column[k])) for column in columns)] for k, name in enumerate(names)]
    return _lines(["target in train", "mean", "std", "min", "max"], rows)


def _lines(header: list[str], rows: list[list[str]]) -> list[str]:
    return str(Table(header, rows)).splitlines()

"""From rows as a user gives them to tensors as the training data were stored, and what is odd about them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dlrun.data.images import decode, open_image
from dlrun.data.transforms import Preparation, Standardize, scale_of
from dlrun.data.vocabulary import UNKNOWN, Vocabulary
from dlrun.errors import DataError, count_of
from dlrun.inference.row import Row
from dlrun.spec import DataSpec

UNKNOWN_SHARE = 0.1  # of unknown letters, from which on it is said
FAR = 6.0  # standard deviations from the training mean
SHRINKS = 8  # times smaller than the image, from which on it is said
MODES = {1: "L", 3: "RGB"}
FLOAT32 = float(np.finfo(np.float32).max)

Encoded = str | tuple[np.ndarray, ...]  # a folded text, or an array for each input of the model


@dataclass
class Encoder:
    """Encodes rows for one spec. `invert`: dark on white becomes white on black, for a model that was trained so."""

    spec: DataSpec
    invert: bool = False
    letters: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    long: int = 0  # texts that are longer than any in training
    brightness: list[float] = field(default_factory=list)
    shrunk: int = 0  # images that lose most of their pixels
    far: int = 0  # rows with a number far from what training showed
    rows: int = 0

    def __post_init__(self) -> None:
        self.steps = Preparation(self.spec).inputs
        self.vocabulary = Vocabulary.of(self.spec) if self.spec.input_kind == "text" else None

    def __call__(self, rows: Sequence[Row]) -> tuple[tuple[Tensor, ...], list[int], dict[int, str]]:
        """The inputs (n, ...) of the rows that are sound, their places in `rows`, and what is wrong with the others."""
        bad: dict[int, str] = {}
        sound: dict[int, Encoded] = {}
        for place, row in enumerate(rows):
            try:
                sound[place] = self.value(row)
            except DataError as error:
                bad[place] = str(error)
        self.rows += len(sound)
        if not sound:
            return (), [], bad
        return self.stack(list(sound.values())), list(sound), bad

    def value(self, row: Row) -> Encoded:
        """A row's own part of the batch. Raises `DataError` for one that cannot be used."""
        if row.fault:
            raise DataError(row.fault)
        if isinstance(row.value, tuple):
            return row.value
        if isinstance(row.value, Path):
            return (self.picture(row.value),)
        if isinstance(row.value, str):
            return self.text(row.value)
        return (self.numbers(row),)

    def stack(self, values: list[Encoded]) -> tuple[Tensor, ...]:
        """One tensor for each input of the model."""
        if self.vocabulary is not None:
            return self.stack_texts(values)
        columns = zip(*(value for value in values if isinstance(value, tuple)), strict=True)
        return tuple(torch.from_numpy(np.stack(column)) for column in columns)

    def stack_texts(self, values: list[Encoded]) -> tuple[Tensor, Tensor]:
        """Codes (n, T) and lengths (n,); those that were given as arrays are padded to the longest."""
        assert self.vocabulary is not None
        texts = [value if isinstance(value, str) else UNKNOWN for value in values]  # which is replaced below
        codes, lengths = self.vocabulary.encode_folded(texts)
        codes = codes.to(torch.int64)
        for place, value in enumerate(values):
            if isinstance(value, tuple):
                lengths[place] = length = int(value[1])
                codes = nn.functional.pad(codes, (0, max(0, length - codes.shape[1])))
                codes[place, :length] = torch.from_numpy(value[0][:length])
        return codes, lengths

    def text(self, text: str) -> str:
        """A folded text, its unknown letters counted."""
        assert self.vocabulary is not None
        folded = self.vocabulary.fold(text)
        if not folded:
            raise DataError("is empty.")
        strange = self.vocabulary.unknown([folded])
        if strange and not self.vocabulary.has_unknown:
            raise DataError(f"{''.join(sorted(strange))!r} is not among {', '.join(self.spec.vocabulary)}.")
        self.letters += len(folded)
        self.unknown += strange
        self.long += len(folded) > self.spec.input_shape[0]
        return folded

    def picture(self, file: Path) -> np.ndarray:
        """An image (C, H, W) as stored: of the training's size, colors and scale."""
        channels, height, width = self.spec.input_shape
        pixels = decode(file, (height, width), MODES.get(channels, "RGB"))
        with open_image(file) as image:
            self.shrunk += min(image.width / width, image.height / height) > SHRINKS
        if self.invert:
            pixels = 255 - pixels
        self.brightness.append(float(pixels.float().mean()) / 255)
        by = scale_of(self.steps[0]) if self.steps else None
        return pixels.numpy() if by in (None, 255.0) else (pixels.numpy() * (by / 255)).round().astype(np.uint8)

    def numbers(self, row: Row) -> np.ndarray:
        """A row of a table, as floats (F,)."""
        assert isinstance(row.value, Sequence)
        width = math.prod(self.spec.input_shape)
        if len(row.value) != width:
            raise DataError(f"{count_of(len(row.value), 'number')}, but the model takes {width}.")
        values = []
        for place, cell in enumerate(row.value):
            name = self.spec.feature_names[place] if self.spec.feature_names else f"number {place + 1}"
            values.append(finite_cell(str(cell), name))
        numbers = torch.tensor(values)
        step = next((s for s in (self.steps or [[]])[0] if isinstance(s, Standardize)), None)
        self.far += step is not None and bool((step.apply(numbers).abs() > FAR).any())
        return numbers.reshape(self.spec.input_shape).numpy()

    def remarks(self) -> list[str]:
        """What makes the answers doubtful: inputs that are not like those of the training."""
        lines = []
        share = self.unknown.total() / max(1, self.letters)
        if share > UNKNOWN_SHARE or (self.unknown and self.rows <= 3):
            which = " ".join(letter for letter, _ in self.unknown.most_common(10))
            lines.append(f"{share:.0%} of the letters are unknown to the model: {which}")
        if self.long:
            longest = self.spec.input_shape[0]
            lines.append(f"{count_of(self.long, 'text')} longer than any in training ({longest} letters)")
        if self.shrunk:
            size = " x ".join(map(str, self.spec.input_shape[1:]))
            lines.append(f"{count_of(self.shrunk, 'image')} made much smaller: the model sees {size} pixels")
        if self.far:
            what = f"numbers more than {FAR:g} deviations from the training mean"
            lines.append(f"{count_of(self.far, 'row')} with {what}")
        return [*lines, *self.about_brightness()]

    def about_brightness(self) -> list[str]:
        """Whether images are much brighter or darker than those of the training, or look inverted."""
        usual = self.spec.seen.get("brightness")
        if usual is None or not self.brightness:
            return []
        mean = sum(self.brightness) / len(self.brightness)
        if abs(mean - usual) <= 0.25:
            return []
        words = f"the images are {'brighter' if mean > usual else 'darker'} than those of the training"
        inverted = abs(1 - mean - usual) < abs(mean - usual) / 2 and not self.invert
        turn = ". They look inverted: try --invert" if inverted else ""
        return [f"{words} (mean {mean:.2f} against {usual:.2f}){turn}"]


def finite_cell(cell: str, name: str) -> float:
    """A cell as a number. Raises `DataError` with the name of its column."""
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{name}: {cell.strip()!r} is no number.") from None
    if not abs(value) <= FLOAT32:
        raise DataError(f"{name}: {cell.strip()} is not finite.")
    return value

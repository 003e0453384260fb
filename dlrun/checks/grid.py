"""A PNG grid of samples with their labels: grey or color images, one panel each, no ticks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from dlrun.spec import DataSpec

INCHES = 1.7  # a panel
TITLE = 0.25  # inches above it
FITS = 23  # characters of a title at full size
ROW = 8  # columns at most


def draw_grid(path: Path, inputs: Sequence[Tensor], target: Tensor, captions: Sequence[str], spec: DataSpec) -> None:
    """Write the first six samples as 2 x 3 panels, more as a grid that is a little wider than high.

    With several inputs, or a target that is a map of classes, a sample is as many images side by side. `inputs` are
    as stored, (N, C, H, W) each (others are left out); `target` (N, ...); `captions` one a sample.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = image_layers(inputs, target, spec)
    panels = [(caption, layer[i]) for i, caption in enumerate(captions) for layer in layers]
    abreast = round(math.sqrt(len(captions) * 4 / 3 / len(layers)))  # samples of several images on a line
    columns = len(layers) * max(1, abreast) if len(layers) > 1 else grid_columns(len(captions))
    lines = math.ceil(len(panels) / columns)
    width, height = INCHES * columns, (INCHES + TITLE) * lines
    figure = Figure(figsize=(width, height), dpi=100)
    # All panels are alike, so their places are known: a layout engine takes a second for twenty.
    figure.subplots_adjust(0.06 / width, 0.06 / height, 1 - 0.06 / width, 1 - TITLE / height, 0.06, TITLE / INCHES)
    FigureCanvasAgg(figure)
    for place, (caption, image) in enumerate(panels, start=1):
        axes: Any = figure.add_subplot(lines, columns, place)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none")
        words = caption if (place - 1) % len(layers) == 0 else ""
        axes.set_title(words, fontsize=min(9.0, 9.0 * FITS / max(1, len(words))))
        axes.set_xticks([])
        axes.set_yticks([])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def grid_columns(count: int) -> int:
    """3 for up to six panels, as in the notes' figure, then about as many as make the grid 4 : 3."""
    return min(count, 3) if count <= 6 else min(ROW, math.ceil(math.sqrt(count * 4 / 3)))


def image_layers(inputs: Sequence[Tensor], target: Tensor, spec: DataSpec) -> list[np.ndarray]:
    """Every input that is an image, and a target that is a map of classes, as (N, H, W[, 3]) in 0 to 1."""
    steps = spec.preprocessing.get("inputs") or [{}] * len(inputs)
    layers = [
        to_pixels(rows, (step or {}).get("scale")) for rows, step in zip(inputs, steps, strict=True) if rows.ndim == 4
    ]
    if spec.task == "labelling" and target.ndim == 3:
        classes = max(1, spec.num_outputs - 1)
        layers.append(target.clamp_min(0).float().div(classes).numpy())
    return layers


def to_pixels(rows: Tensor, scale: float | None = None) -> np.ndarray:
    """(N, C, H, W) as stored to (N, H, W) grey or (N, H, W, 3) color, in 0 to 1.

    uint8 is divided by `scale` (None: 255), other numbers are stretched from the least to the greatest of them
    all. Images of neither 1 nor 3 channels show the mean of their channels.
    """
    values = rows.float()
    if rows.element_size() == 1:
        values = values / (scale or 255.0)
    else:
        low, high = values.min(), values.max()
        values = (values - low) / (high - low if high > low else 1.0)
    values = values.clamp(0, 1)
    pixels = values.permute(0, 2, 3, 1) if values.shape[1] == 3 else values.mean(1)
    return pixels.numpy()

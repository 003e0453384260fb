"""A grid of images with captions, the one way in which single samples are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.report import style

if TYPE_CHECKING:
    import numpy as np

TILE_INCHES = 1.4
GAP = 0.06  # between images, as a share of a tile
LINE_HEIGHT = 0.14  # of a caption, as a share of a tile
FONT_SIZE = 8.0


def draw_tiles(
    path: Path, images: Sequence[np.ndarray], captions: Sequence[str], columns: int, title: str = ""
) -> Path:
    """Write a PNG of images row by row, each below its caption; returns the path.

    Args:
        path: the file to write.
        images: (H, W, 3) each, in [0, 1], as `to_pixels` returns them.
        captions: one for each image; "" for none.
        columns: how many images stand side by side.
        title: a line above all of them.
    """
    rows = math.ceil(len(images) / columns)
    above = LINE_HEIGHT * max(caption.count("\n") + 1 if caption else 0 for caption in captions)
    step = above + max(image.shape[0] / image.shape[1] for image in images) + GAP
    across, down = columns * (1 + GAP) + GAP, rows * step + GAP  # in tiles
    title_inches = 0.3 if title else 0.0
    width, height = max(TILE_INCHES * across, 0.09 * len(title)), TILE_INCHES * down + title_inches
    figure = style.new_figure(width, height, layout=None)
    # All images share one pair of axes: a pair for each would take a second for twenty-five.
    axes = figure.add_axes((0, 0, TILE_INCHES * across / width, TILE_INCHES * down / height))
    axes.set_axis_off()
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * (1 + GAP), index // columns * step + above
        bottom = top + image.shape[0] / image.shape[1]
        axes.imshow(image, extent=(left, left + 1, bottom, top), interpolation="nearest")
        text = axes.text(left + 0.5, top - 0.02, caption, ha="center", va="bottom", fontsize=FONT_SIZE, color=style.INK)
        text.set_fontsize(FONT_SIZE * min(1.0, TILE_INCHES * style.DPI / max(1.0, text.get_window_extent().width)))
    axes.set_xlim(-GAP, across - GAP)
    axes.set_ylim(down - GAP, -GAP)
    if title:
        figure.text(0.06 / width, 1 - 0.08 / height, title, va="top", fontsize=10, color=style.INK)
    return style.save(figure, path)


def to_pixels(images: np.ndarray, largest: float | None = None) -> np.ndarray:
    """(N, C, H, W) or (N, H, W) of any range as (N, H, W, 3) in [0, 1].

    uint8 is divided by `largest`, by default 255. Floats in [0, 1] stay as they are; others are scaled so that the
    smallest and the largest finite number of all images become 0 and 1. NaN becomes 0. One channel is drawn grey; of
    two or more than three channels, the mean is drawn.
    """
    import numpy as np

    values = images.astype(np.float32) if images.ndim == 4 else images.astype(np.float32)[:, None]
    finite = values[np.isfinite(values)]
    if images.dtype == np.uint8:
        low, high = 0.0, largest or 255.0
    elif not finite.size or (finite.min() >= 0 and finite.max() <= 1):
        low, high = 0.0, 1.0
    else:
        low, high = float(finite.min()), float(finite.max())
    values = np.nan_to_num(np.clip((values - low) / ((high - low) or 1.0), 0, 1))
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    return np.broadcast_to(values, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)

"""A grid of images with captions, the one way in which single samples are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.report import style

if TYPE_CHECKING:
    import numpy as np

TILE_INCHES = 1.4  # the width of an image
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
    import numpy as np

    rows = math.ceil(len(images) / columns)
    above = LINE_HEIGHT * max(caption.count("\n") + 1 if caption else 0 for caption in captions)
    step = above + max(image.shape[0] / image.shape[1] for image in images) + GAP
    across, down = columns * (1 + GAP) + GAP, rows * step + GAP  # in tiles
    title_inches = 0.3 if title else 0.0
    width, height = max(TILE_INCHES * across, 0.09 * len(title)), TILE_INCHES * down + title_inches
    figure = style.new_figure(width, height)
    # All images are one: matplotlib takes two milliseconds for each.
    sheet = np.full((*figure.canvas.get_width_height()[::-1], 3), 255, np.uint8)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = TILE_INCHES * (GAP + index % columns * (1 + GAP))
        top = title_inches + TILE_INCHES * (GAP + index // columns * step + above)
        paste(sheet, image, round(style.DPI * left), round(style.DPI * top))
        place = (left + TILE_INCHES / 2) / width, 1 - (top - 0.02 * TILE_INCHES) / height
        text = figure.text(*place, caption, ha="center", va="bottom", fontsize=FONT_SIZE, color=style.INK)
        text.set_fontsize(FONT_SIZE * min(1.0, TILE_INCHES * style.DPI / max(1.0, text.get_window_extent().width)))
    figure.figimage(sheet)
    if title:
        figure.text(0.06 / width, 1 - 0.08 / height, title, va="top", fontsize=10, color=style.INK)
    return style.save(figure, path)


def paste(sheet: np.ndarray, image: np.ndarray, left: int, top: int) -> None:
    """Put an image into a sheet (H, W, 3) of uint8, as wide as a tile: each pixel of the sheet is the nearest one."""
    import numpy as np

    wide = round(style.DPI * TILE_INCHES)
    tall = max(1, round(wide * image.shape[0] / image.shape[1]))
    rows, columns = (
        ((np.arange(size) + 0.5) * old / size).astype(int)
        for size, old in zip((tall, wide), image.shape[:2], strict=True)
    )
    shown = (255 * image[rows][:, columns]).round().astype(np.uint8)
    place = sheet[top : top + tall, left : left + wide]
    place[...] = shown[: place.shape[0], : place.shape[1]]


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

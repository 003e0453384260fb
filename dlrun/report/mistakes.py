"""mistakes.png and reconstructions.png: what a model of images gets most wrong, and what it makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.report import style

if TYPE_CHECKING:
    import numpy as np

TILE_INCHES = 1.15
GAP = 0.06  # of a tile, between images
CAPTION = 0.30  # of a tile, below an image


def draw_mistakes(
    run_dir: Path | str, images: object, true: object, predicted: object, confidence: object,
    labels: Sequence[str] = (), limit: int = 25,
) -> Path | None:  # fmt: skip
    """Write RUN/mistakes.png: the wrong predictions that the model was surest of, surest first.

    Args:
        run_dir: the run directory.
        images: (N, C, H, W) or (N, H, W), uint8 or float of any range.
        true: (N,) class numbers.
        predicted: (N,) class numbers. Rows that are right are left out.
        confidence: (N,) probability of the predicted class.
        labels: class names; their numbers when there are none.
        limit: how many are drawn at most.

    Returns the path, or None when there is no mistake (a file of an earlier time is removed).
    """
    import numpy as np

    path = Path(run_dir) / "mistakes.png"
    right, wrong, sure = np.asarray(true), np.asarray(predicted), np.asarray(confidence, dtype=float)
    rows = np.flatnonzero(right != wrong)
    if not len(rows):
        path.unlink(missing_ok=True)
        return None
    worst = rows[np.argsort(-sure[rows], kind="stable")][:limit]

    def name(number: int) -> str:
        return style.plain(labels[number], 11) if labels else str(number)

    captions = [f"said {name(int(wrong[i]))} ({sure[i]:.0%})\nis {name(int(right[i]))}" for i in worst]
    pixels = to_pixels(np.asarray(images)[worst])
    columns = min(max(5, math.ceil(math.sqrt(len(worst)))), len(worst)) if len(worst) > 1 else 1
    count = f"{len(rows)} of {len(right)} wrong" if len(rows) < len(right) else f"{len(rows)} wrong"
    return _draw_tiles(path, pixels, captions, columns, f"The surest mistakes ({count})")


def draw_reconstructions(run_dir: Path | str, inputs: object, outputs: object, limit: int = 12) -> Path:
    """Write RUN/reconstructions.png: each input above the output, on one grey scale; returns its path.

    Args:
        run_dir: the run directory.
        inputs: (N, C, H, W), uint8 or float of any range.
        outputs: the model's, of the same shape and range; clipped to the range of the inputs.
        limit: how many pairs are drawn at most.
    """
    import numpy as np

    shown, made = np.asarray(inputs)[:limit], np.asarray(outputs)[:limit]
    low, high = float(shown.min()), float(shown.max())
    pixels = np.concatenate([to_pixels(shown, low, high), to_pixels(made, low, high)])
    words = [""] * len(pixels)
    title = "Inputs above, reconstructions below"
    return _draw_tiles(Path(run_dir) / "reconstructions.png", pixels, words, len(shown), title)


def to_pixels(images: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """(N, C, H, W) or (N, H, W) of any range as (N, H, W, 3) in [0, 1].

    uint8 is divided by 255; floats are stretched from `low`..`high` (the smallest and largest value of them
    all) unless they lie within [0, 1] already. One channel is grey; of more than three, the mean is shown.
    """
    import numpy as np

    if images.ndim == 3:
        images = images[:, None]
    whole = images.dtype == np.uint8
    values = images.astype(np.float32)
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    if whole:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    values = np.nan_to_num(np.clip((values - low) / ((high - low) or 1.0), 0, 1))
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    return np.broadcast_to(values, (len(values), 3, *values.shape[2:])).transpose(0, 2, 3, 1)


def _draw_tiles(path: Path, pixels: np.ndarray, captions: Sequence[str], columns: int, title: str) -> Path:
    """All tiles in one pair of axes: one axes a tile would take a second."""
    rows = math.ceil(len(pixels) / columns)
    caption = CAPTION if any(captions) else 0.0
    height = pixels.shape[1] / pixels.shape[2]
    across, down = columns * (1 + GAP) + GAP, rows * (height + caption + GAP) + GAP  # in tiles
    width_inches, title_inches = max(TILE_INCHES * across, 0.09 * len(title)), 0.3
    height_inches = TILE_INCHES * down + title_inches
    figure = style.new_figure(width_inches, height_inches, layout=None)
    axes = figure.add_axes((0, 0, TILE_INCHES * across / width_inches, TILE_INCHES * down / height_inches))
    axes.set_axis_off()
    for index, (tile, words) in enumerate(zip(pixels, captions, strict=True)):
        left = index % columns * (1 + GAP)
        top = index // columns * (height + caption + GAP)
        axes.imshow(tile, extent=(left, left + 1, top + height, top), interpolation="nearest")
        if words:
            axes.text(left + 0.5, top + height + 0.02, words, ha="center", va="top", fontsize=7.5)
    axes.set_xlim(-GAP, across - GAP)
    axes.set_ylim(down - GAP, -GAP)
    figure.text(0.06 / width_inches, 1 - 0.08 / height_inches, title, va="top", fontsize=10, color=style.INK)
    return style.save(figure, path)

"""mistakes.png (wrong predictions on images) and reconstructions.png (the outputs of an autoencoder)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dlrun.report import style
from dlrun.report.tiles import draw_tiles, to_pixels


def draw_mistakes(
    run_dir: Path | str, images: object, true: object, predicted: object, confidence: object,
    labels: Sequence[str] = (), limit: int = 25,
) -> Path | None:  # fmt: skip
    """Write RUN/mistakes.png: the wrong predictions with the highest confidence, highest first.

    Args:
        run_dir: the run directory.
        images: (N, C, H, W) or (N, H, W), uint8 or float of any range.
        true: (N,) class numbers.
        predicted: (N,) class numbers. Rows that are right are left out.
        confidence: (N,) probability of the predicted class.
        labels: class names; their numbers when there are none.
        limit: how many are drawn at most.

    Returns the path, or None if no prediction is wrong; a mistakes.png of an earlier run is removed then.
    """
    import numpy as np

    path = Path(run_dir) / "mistakes.png"
    right, wrong, sure = np.asarray(true), np.asarray(predicted), np.asarray(confidence, dtype=float)
    rows = np.flatnonzero(right != wrong)
    if not len(rows):
        path.unlink(missing_ok=True)
        return None
    worst = rows[np.argsort(-sure[rows], kind="stable")][:limit]
    classes = range(1 + int(max(right.max(), wrong.max())))
    names = style.told_apart(labels or [str(number) for number in classes], 11)
    captions = [f"said {names[wrong[i]]} ({sure[i]:.0%})\nis {names[right[i]]}" for i in worst]
    pixels = to_pixels(np.asarray(images)[worst])
    columns = min(max(5, math.ceil(math.sqrt(len(worst)))), len(worst)) if len(worst) > 1 else 1
    count = f"{len(rows)} of {len(right)} wrong" if len(rows) < len(right) else f"{len(rows)} wrong"
    return draw_tiles(path, list(pixels), captions, columns, f"The surest mistakes ({count})")


def draw_reconstructions(run_dir: Path | str, inputs: object, outputs: object, limit: int = 12) -> Path:
    """Write RUN/reconstructions.png: each input above the output, on one grey scale; returns its path.

    Args:
        run_dir: the run directory.
        inputs: (N, C, H, W), uint8 or float of any range.
        outputs: the model's outputs, of the same shape. They are clipped to the range of the inputs.
        limit: how many pairs are drawn at most.
    """
    import numpy as np

    shown, made = np.asarray(inputs)[:limit], np.asarray(outputs)[:limit]
    pixels = to_pixels(np.concatenate([shown, np.clip(made, shown.min(), shown.max())]))
    path, title = Path(run_dir) / "reconstructions.png", "Inputs above, reconstructions below"
    return draw_tiles(path, list(pixels), [""] * len(pixels), len(shown), title)

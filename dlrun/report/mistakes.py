"""mistakes.png (wrong predictions on images) and reconstructions.png (the outputs of an autoencoder).

A run stores what is drawn in mistakes.npz and reconstructions.npz, from which the figures are drawn at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.report import style
from dlrun.report.arrays import read_arrays, write_arrays
from dlrun.report.tiles import draw_tiles, to_pixels

if TYPE_CHECKING:
    import numpy as np

MISTAKES, RECONSTRUCTIONS = "mistakes.npz", "reconstructions.npz"
MOST_IMAGES = 100  # that are drawn
STORED_PIXELS = 280  # of the longer side of an image: twice what is drawn


def store_mistakes(
    run_dir: Path | str, images: object, true: object, predicted: object, confidence: object,
    labels: Sequence[str] = (), limit: int = 25,
) -> bool:  # fmt: skip
    """Write RUN/mistakes.npz: the wrong predictions with the highest confidence, highest first.

    Args:
        run_dir: the run directory.
        images: (N, C, H, W) or (N, H, W), uint8 or float of any range.
        true: (N,) class numbers.
        predicted: (N,) class numbers. Rows that are right are left out.
        confidence: (N,) probability of the predicted class.
        labels: class names; their numbers when there are none.
        limit: how many are stored at most.

    Returns whether a prediction is wrong; if not, the mistakes of an earlier time are removed.
    """
    import numpy as np

    path = Path(run_dir) / MISTAKES
    right, wrong, sure = np.asarray(true), np.asarray(predicted), np.asarray(confidence, dtype=float)
    rows = np.flatnonzero(right != wrong)
    if not len(rows):
        path.unlink(missing_ok=True)
        path.with_suffix(".png").unlink(missing_ok=True)
        return False
    worst = rows[np.argsort(-sure[rows], kind="stable")][:limit]
    names = labels or [str(number) for number in range(1 + int(max(right.max(), wrong.max())))]
    counts = {"wrong": np.array(len(rows)), "rows": np.array(len(right)), "labels": np.array(list(names), dtype=str)}
    shown = {"true": right[worst], "predicted": wrong[worst], "confidence": sure[worst]}
    write_arrays(path, {"images": as_bytes(to_pixels(np.asarray(images)[worst])), **shown, **counts})
    return True


def draw_mistakes(run_dir: Path | str) -> Path | None:
    """Draw RUN/mistakes.png from RUN/mistakes.npz; returns its path, or None if that is missing or damaged."""
    found = read_arrays(Path(run_dir) / MISTAKES)
    if not are_images(found, "true", "predicted", "confidence") or not {"labels", "wrong", "rows"} <= found.keys():
        return None
    names = style.told_apart([str(name) for name in found["labels"].reshape(-1)], 11)
    told = list(zip(*(found[key].reshape(-1).tolist() for key in ("predicted", "confidence", "true")), strict=True))
    if not all(0 <= number < len(names) for said, _, true in told for number in (said, true)):
        return None
    captions = [f"said {names[said]} ({sure:.0%})\nis {names[true]}" for said, sure, true in told]
    columns = min(max(5, math.ceil(math.sqrt(len(told)))), len(told))
    wrong, rows = int(found["wrong"]), int(found["rows"])
    count = f"{wrong} of {rows} wrong" if wrong < rows else f"{wrong} wrong"
    pixels = found["images"].astype("float32") / 255
    return draw_tiles(Path(run_dir) / "mistakes.png", list(pixels), captions, columns, f"The surest mistakes ({count})")


def store_reconstructions(run_dir: Path | str, inputs: object, outputs: object, limit: int = 12) -> None:
    """Write RUN/reconstructions.npz: inputs and the model's outputs, on one grey scale.

    Args:
        run_dir: the run directory.
        inputs: (N, C, H, W), uint8 or float of any range.
        outputs: the model's outputs, of the same shape. They are clipped to the range of the inputs.
        limit: how many pairs are stored at most.
    """
    import numpy as np

    shown, made = np.asarray(inputs)[:limit], np.asarray(outputs)[:limit]
    pixels = as_bytes(to_pixels(np.concatenate([shown, np.clip(made, shown.min(), shown.max())])))
    write_arrays(Path(run_dir) / RECONSTRUCTIONS, {"images": pixels[: len(shown)], "outputs": pixels[len(shown) :]})


def draw_reconstructions(run_dir: Path | str) -> Path | None:
    """Draw RUN/reconstructions.png, each input above the output; returns its path, or None without whole values."""
    found = read_arrays(Path(run_dir) / RECONSTRUCTIONS)
    if not are_images(found, "outputs") or found["outputs"].shape != found["images"].shape:
        return None
    pixels = [image.astype("float32") / 255 for key in ("images", "outputs") for image in found[key]]
    path, title = Path(run_dir) / "reconstructions.png", "Inputs above, reconstructions below"
    return draw_tiles(path, pixels, [""] * len(pixels), len(pixels) // 2, title)


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) in [0, 1] as uint8, of at most `STORED_PIXELS`: of larger ones, every second pixel, or so."""
    import numpy as np

    step = math.ceil(max(pixels.shape[1:3]) / STORED_PIXELS)
    return (255 * pixels[:, ::step, ::step]).round().astype(np.uint8)


def are_images(found: dict[str, np.ndarray], *others: str) -> bool:
    """Whether there are images (N, H, W, 3), and as many numbers of each of the other names."""
    images = found.get("images")
    if images is None or images.dtype != "uint8" or images.ndim != 4 or images.shape[3] != 3:
        return False
    drawable = 0 < len(images) <= MOST_IMAGES and min(images.shape[1:3]) > 0 and max(images.shape) <= STORED_PIXELS
    return drawable and all(name in found and found[name].shape[:1] == images.shape[:1] for name in others)

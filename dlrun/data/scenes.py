"""Generated scenes: a box and a disc before a background, as an image and a depth map.

Brightness says nothing of what lies in front; the depth map does. So both inputs are needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Data, Split, from_parts
from dlrun.data.seeds import derive
from dlrun.data.splits import seed_of_test, split_off
from dlrun.data.transforms import Scale, Standardize, write_steps

FAR = 10.0  # depth of the background, in the units of the depth map


def scenes(
    *,
    seed: int,
    root: Path,
    task: str = "labelling",
    samples: int = 600,
    size: int = 16,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """Images (N, 1, S, S) uint8 and depths (N, 1, S, S) float.

    With `task="labelling"` the target is the mask (N, S, S) of background 0, box 1, disc 2; with
    `task="classification"` it is which of the two is nearer, box 0 or disc 1. `size` is at least 8.
    """
    images, depths, masks, nearer = _draw(
        np.random.default_rng(derive(seed_of_test(seed, split_seed), "data")), samples, size
    )
    labels = ["background", "box", "disc"] if task == "labelling" else ["box", "disc"]
    whole = Split((images, depths), masks if task == "labelling" else nearer)
    train, val, test = split_off(samples, (val_fraction, test_fraction), seed, split_seed, nearer, labels)
    fitted = Standardize.fit(depths[train].reshape(-1, 1))
    return from_parts(
        "scenes",
        task,
        "multi",
        whole.take(train),
        whole.take(val) if len(val) else None,
        whole.take(test) if len(test) else None,
        labels=labels,
        preprocessing={"inputs": [write_steps([Scale(255.0)]), write_steps([fitted])]},
    )


def _draw(random: np.random.Generator, count: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, depths, masks, and 1 where the disc is nearer than the box."""
    y, x = np.mgrid[:size, :size]
    centre = random.uniform(size * 0.25, size * 0.75, (2, 2, count, 1, 1))  # shape, axis, scene
    radius = random.uniform(size * 0.15, size * 0.3, (2, count, 1, 1))
    box = np.maximum(abs(y - centre[0, 0]), abs(x - centre[0, 1])) <= radius[0]
    disc = (y - centre[1, 0]) ** 2 + (x - centre[1, 1]) ** 2 <= radius[1] ** 2
    depth = random.uniform(1.0, FAR - 1, (2, count, 1, 1))
    depth[1] = np.where(abs(depth[1] - depth[0]) < 1, depth[0] + 1, depth[1])  # never in doubt which is nearer
    ahead = depth[1] < depth[0]
    mask = np.where(disc & (ahead | ~box), 2, np.where(box, 1, 0))
    shade = random.uniform(30, 225, (3, count, 1, 1))
    image = np.choose(mask, list(shade)) + random.normal(0, 8, mask.shape)
    away = np.choose(mask, [np.full_like(depth[0], FAR), *depth]) + random.normal(0, 0.1, mask.shape)
    return (
        torch.from_numpy(image.clip(0, 255).astype(np.uint8))[:, None],
        torch.from_numpy(away.astype(np.float32))[:, None],
        torch.from_numpy(mask.astype(np.uint8)),
        torch.from_numpy(ahead.reshape(count).astype(np.int64)),
    )

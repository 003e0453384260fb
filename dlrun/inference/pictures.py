"""Images that a model gives: the mask of a labelling, the image of a reconstruction."""

from __future__ import annotations

import colorsys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dlrun.data.transforms import Preparation, scale_of


def write_mask(path: Path, mask: Tensor) -> None:
    """Write class numbers (H, W) as a PNG with a palette: the value of a pixel is its class, 0 is black."""
    image = Image.fromarray(mask.to(torch.uint8).numpy(), mode="P")
    colors = [(0.0, 0.0, 0.0), *(colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.7, 0.95) for i in range(255))]
    image.putpalette([round(255 * part) for color in colors for part in color])
    image.save(path)


def write_picture(path: Path, image: Tensor, preparation: Preparation) -> None:
    """Write an image (C, H, W) that is in the units of the prepared input as a PNG."""
    steps, rows = preparation.inputs[0] if preparation.inputs else [], image[None]
    for step in reversed(steps):
        rows = step.inverse(rows)
    pixels = (rows[0] * (255.0 / (scale_of(steps) or 1.0))).round().clamp(0, 255).to(torch.uint8)
    shown = pixels[0] if pixels.shape[0] != 3 else pixels.permute(1, 2, 0)
    Image.fromarray(shown.numpy()).save(path)

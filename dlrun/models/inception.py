"""The inception block, a small network of two of them, and GoogLeNet.

Szegedy et al., "Going Deeper with Convolutions", 2014: the block is fig. 2b, the network table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import prod

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.cnn import Cnn
from dlrun.models.parts import by_layer, check, shape_after
from dlrun.spec import DataSpec


@dataclass(frozen=True)
class Widths:
    """Channels of an inception block's branches, in the order of the columns of the paper's table 1."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int

    @property
    def total(self) -> int:
        """Channels of the concatenated output."""
        return self.one + self.three + self.five + self.pool

    def scaled(self, width: float) -> Widths:
        """All channels times `width`, at least 1 each."""
        return Widths(*(max(1, round(c * width)) for c in astuple(self)))


# Table 1 of the paper; None is the 3x3 max pooling with stride 2 between two stages.
GOOGLENET: tuple[Widths | None, ...] = (
    Widths(64, 96, 128, 16, 32, 32),
    Widths(128, 128, 192, 32, 96, 64),
    None,
    Widths(192, 96, 208, 16, 48, 64),
    Widths(160, 112, 224, 24, 64, 64),
    Widths(128, 128, 256, 24, 64, 64),
    Widths(112, 144, 288, 32, 64, 64),
    Widths(256, 160, 320, 32, 128, 128),
    None,
    Widths(256, 160, 320, 32, 128, 128),
    Widths(384, 192, 384, 48, 128, 128),
)


def convolution(inputs: int, outputs: int, kernel: int, batch_norm: bool, stride: int = 1) -> nn.Sequential:
    """Conv-(BN)-ReLU with a padding of half the kernel: with stride 1, H and W stay."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not batch_norm)
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(conv, *norm, nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3; 1x1 then 5x5; pooling then 1x1. H and W stay.

    The 1x1 convolutions before the large kernels cut the computation.
    (N, C, H, W) to (N, widths.total, H, W).
    """

    def __init__(self, inputs: int, widths: Widths, batch_norm: bool = False) -> None:
        super().__init__()
        w, bn = widths, batch_norm
        self.branch1 = convolution(inputs, w.one, 1, bn)
        self.branch3 = nn.Sequential(convolution(inputs, w.reduce3, 1, bn), convolution(w.reduce3, w.three, 3, bn))
        self.branch5 = nn.Sequential(convolution(inputs, w.reduce5, 1, bn), convolution(w.reduce5, w.five, 5, bn))
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(inputs, w.pool, 1, bn))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, widths.total, H, W), joined on the channels."""
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


def inception(
    spec: DataSpec,
    channels: Sequence[int] = (10, 20),
    kernels: int | Sequence[int] = 5,
    branches: Sequence[int] = (16, 16, 24, 16, 24, 24),
    batch_norm: bool = False,
) -> nn.Module:
    """For each entry of `channels`: convolution, 2x2 max pooling, inception block. (N, C, H, W) to (N, K).

    `branches` are the block's channels: 1x1, the 1x1 before 3x3, 3x3, the 1x1 before 5x5, 5x5, after the
    pooling. One linear layer, `head`, reads the flattened map. Raises `ConfigError` when the image is too
    small.
    """
    check(spec, "inception", ("image",))
    if len(branches) != 6:
        message = f"has {len(branches)} entries, and a block has 6 convolutions."
        hint = "Give the channels of 1x1, 1x1 before 3x3, 3x3, 1x1 before 5x5, 5x5, 1x1 after the pooling."
        raise ConfigError(Problem("model.branches", message, hint))
    widths = Widths(*branches)
    sizes = by_layer(kernels, len(channels), "model.kernels")
    c, h, w = spec.input_shape
    layers: list[nn.Module] = []
    for outputs, kernel in zip(channels, sizes, strict=True):
        layers += [convolution(c, outputs, kernel, batch_norm), nn.MaxPool2d(2)]
        layers += [Inception(outputs, widths, batch_norm)]
        c = widths.total
    if min(h, w) < 2 ** len(channels):
        message = f"{len(channels)} poolings halve a {h}x{w} image to nothing."
        raise ConfigError(Problem("model.channels", message, "Give fewer entries."))
    features = nn.Sequential(*layers)
    head = nn.Linear(prod(shape_after(features, spec.input_shape)), spec.num_outputs)
    return Cnn(features, head, nn.Identity())


def googlenet(
    spec: DataSpec, width: float = 0.125, stem: str = "auto", batch_norm: bool = True, dropout: float = 0.4
) -> nn.Module:
    """GoogLeNet with all channels times `width`, without the auxiliary heads. (N, C, H, W) to (N, K).

    `stem="large"` is the paper's (7x7 with stride 2 and two poolings), `small` one 3x3 convolution and one
    pooling; `auto` takes large from 96 pixels on. Batch norm came with Ioffe and Szegedy 2015; without it the
    22 layers train slowly. Dropout is before the linear layer (40 % in the paper).
    """
    check(spec, "googlenet", ("image",))
    large = stem == "large" or (stem == "auto" and min(spec.input_shape[1:]) >= 96)
    layers, c = _stem(spec.input_shape[0], width, batch_norm, large)
    for row in GOOGLENET:
        if row is None:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            continue
        widths = row.scaled(width)
        layers.append(Inception(c, widths, batch_norm))
        c = widths.total
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(c, spec.num_outputs))
    return Cnn(features, head, nn.Identity())


def _stem(inputs: int, width: float, batch_norm: bool, large: bool) -> tuple[list[nn.Module], int]:
    """The layers before the first block, and the channels that they give."""
    c64, c192 = max(1, round(64 * width)), max(1, round(192 * width))
    if not large:
        return [convolution(inputs, c192, 3, batch_norm), nn.MaxPool2d(3, stride=2, padding=1)], c192
    pools = [nn.MaxPool2d(3, stride=2, padding=1) for _ in range(2)]
    first = [convolution(inputs, c64, 7, batch_norm, stride=2), pools[0]]
    second = [convolution(c64, c64, 1, batch_norm), convolution(c64, c192, 3, batch_norm), pools[1]]
    return [*first, *second], c192

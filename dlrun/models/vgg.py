"""VGG: a body of 3x3 convolutions and poolings from one list, whose layers can be tapped by index.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, table 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import check, dense_head
from dlrun.spec import DataSpec

POOL = "M"
LARGEST = 7  # the side of the last map that the head reads, as for the paper's 224 x 224 images


class Vgg(nn.Module):
    """`vgg` is a ModuleList: `self.vgg[idx]` is the layer at that index, as in the usual feature taps."""

    def __init__(self, layers: Sequence[nn.Module], pool: nn.Module, head: nn.Module, taps: Sequence[int] = ()) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(layers)
        self.pool = pool
        self.head = head
        self.taps = tuple(taps)

    def feature_maps(self, x: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """The outputs (N, C, H, W) of the layers at the indices `taps`, in the order of the network."""
        maps = []
        for idx, layer in enumerate(self.vgg):
            x = layer(x)
            if idx in taps:
                maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K): the mean of each tapped map and the whole last one, into the head."""
        *tapped, last = self.feature_maps(x, (*self.taps, len(self.vgg) - 1))
        means = [m.mean(dim=(2, 3)) for m in tapped]
        return self.head(torch.cat([*means, self.pool(last).flatten(1)], dim=1))


def vgg(
    spec: DataSpec,
    channels: Sequence[int | str] = (16, 16, POOL, 32, 32, POOL, 64, 64, POOL),
    batch_norm: bool = False,
    taps: Sequence[int] = (),
    head: Sequence[int] = (64,),
    dropout: float = 0.0,
) -> nn.Module:
    """VGG (Simonyan and Zisserman 2014): in its list, a number is a 3x3 convolution and ReLU, `M` a 2x2 max pooling.

    (N, C, H, W) to (N, K). VGG16 is `[64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M]` with
    `head=[4096,4096]`. Pooling rounds up, so that small images pass any number of poolings; a last map larger
    than 7x7 is averaged down to that. Raises `ConfigError` for other entries, and for
    taps that are not there.
    """
    check(spec, "vgg", ("image",))
    layers: list[nn.Module] = []
    c = spec.input_shape[0]
    widths: list[int] = []  # channels of the map after each layer
    for position, entry in enumerate(channels):
        if entry == POOL:
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        elif isinstance(entry, int) and not isinstance(entry, bool) and entry >= 1:
            layers.extend(vgg_convolution(c, entry, batch_norm))
            c = entry
        else:
            message = f"entry {position} is {entry!r}."
            raise ConfigError(Problem("model.channels", message, "Allowed: whole numbers from 1, and M."))
        widths.extend([c] * (len(layers) - len(widths)))
    if not layers:
        raise ConfigError(Problem("model.channels", "is empty.", "Give at least one convolution."))
    wrong = [t for t in taps if not 0 <= t < len(layers)]
    if wrong:
        message = f"there is no layer {wrong[0]}: the body has the layers 0 to {len(layers) - 1}."
        raise ConfigError(Problem("model.taps", message))
    tapped = sorted({*taps} - {len(layers) - 1})
    halvings = sum(entry == POOL for entry in channels)
    size = [min(LARGEST, math.ceil(s / 2**halvings)) for s in spec.input_shape[1:]]
    inputs = sum(widths[t] for t in tapped) + c * size[0] * size[1]
    dense = dense_head(inputs, head, spec.num_outputs, dropout=dropout)
    return Vgg(layers, nn.AdaptiveAvgPool2d((size[0], size[1])), dense, tapped)


def vgg_convolution(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    """Conv-(BN)-ReLU. The ReLU is not in place: that would change a tapped map of the convolution."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=1, padding=1, bias=not batch_norm)
    # He et al., "Delving Deep into Rectifiers", 2015, eq. 10: with torch's own first weights the signal shrinks
    # at every layer, and without batch norm such a stack does not begin to learn.
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [conv, nn.ReLU()]

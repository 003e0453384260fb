"""A small convolutional autoencoder with three ways up: max unpooling, transposed convolution, interpolation.

Max unpooling: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013, section 2.1.
Interpolation then convolution: Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import activation as make_activation
from dlrun.models.parts import check
from dlrun.models.parts import output_activation as make_output
from dlrun.spec import DataSpec

ALIGNED = ("linear", "bilinear", "bicubic", "trilinear")  # the modes that know align_corners


def resize(x: Tensor, size: tuple[int, int], mode: str, align_corners: bool | None = None) -> Tensor:
    """`F.interpolate` of maps (N, C, H, W) to (N, C, *size), in any of its modes.

    `linear` is for signals and `trilinear` for volumes: here the one runs along the rows and then along the
    columns, and the other over a depth of 1. Both equal `bilinear`.
    """
    if mode == "linear":
        n, c, h, w = x.shape
        x = interpolate(x.reshape(n, c * h, w), size[1], mode=mode, align_corners=align_corners)
        x = x.reshape(n, c, h, size[1]).transpose(2, 3).reshape(n, c * size[1], h)
        x = interpolate(x, size[0], mode=mode, align_corners=align_corners)
        return x.reshape(n, c, size[1], size[0]).transpose(2, 3)
    if mode == "trilinear":
        return interpolate(x.unsqueeze(2), (1, *size), mode=mode, align_corners=align_corners).squeeze(2)
    return interpolate(x, size, mode=mode, align_corners=align_corners)


class Interpolate(nn.Module):
    """Maps to a fixed size by `resize`."""

    def __init__(self, size: tuple[int, int], mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.size, self.mode, self.align_corners = size, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, H, W)."""
        return resize(x, self.size, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """The size and mode, for printing."""
        return f"size={self.size}, mode={self.mode}"


class Autoencoder(nn.Module):
    """`encoder`: convolutions, with `pool` after each; `up` and `decoder`: the way back, mirrored."""

    def __init__(
        self, encoder: Sequence[nn.Module], up: Sequence[nn.Module], decoder: Sequence[nn.Module], output: nn.Module
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.up = nn.ModuleList(up)
        self.decoder = nn.ModuleList(decoder)
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        places = []  # where each maximum stood, and the size before the pooling
        for layer in self.encoder:
            x = layer(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            places.append((indices, size))
        for up, layer in zip(self.up, self.decoder, strict=True):
            indices, size = places.pop()
            x = up(x, indices, output_size=size) if isinstance(up, nn.MaxUnpool2d) else up(x)
            x = layer(x)
        return self.output(x)


def autoencoder(
    spec: DataSpec,
    mode: str = "transposed",
    channels: Sequence[int] = (8, 4),
    activation: str = "relu",
    interpolation: str = "bilinear",
    align_corners: bool | None = None,
    output_activation: str | None = None,
) -> nn.Module:
    """Compresses images to a small map and restores them. (N, C, H, W) to the same shape.

    For each entry of `channels` a 3x3 convolution, activation and 2x2 max pooling; then mirrored: up to the
    size before the pooling, and a 3x3 convolution. `mode` is the way up:

    * `unpool`: every value returns to where its maximum stood (these places pass beside the code).
    * `transposed`: a 3x3 transposed convolution with stride 2 does both.
    * `interpolate`: `F.interpolate` in the mode `interpolation`.

    Raises `ConfigError` for images that are too small, and `align_corners` where the mode has none.
    """
    check(spec, "autoencoder", ("image",), ("reconstruction",))
    if align_corners is not None and (mode != "interpolate" or interpolation not in ALIGNED):
        message = f"does nothing with mode={mode} and interpolation={interpolation}."
        hint = f"It belongs to mode=interpolate with {', '.join(ALIGNED)}."
        raise ConfigError(Problem("model.align_corners", message, hint))
    sizes = _sizes(spec.input_shape[1:], len(channels))
    widths = [spec.input_shape[0], *channels]
    encoder = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), make_activation(activation))
        for a, b in zip(widths, channels, strict=False)
    ]
    up: list[nn.Module] = []
    decoder: list[nn.Module] = []
    for stage in reversed(range(len(channels))):
        inputs, outputs, size = widths[stage + 1], widths[stage], sizes[stage]
        # The last layer of all has no activation but the output's own.
        after = make_activation(activation) if stage else nn.Identity()
        if mode == "transposed":
            up.append(nn.Identity())
            decoder.append(nn.Sequential(_Transposed(inputs, outputs, size), after))
            continue
        unpool = mode == "unpool"
        up.append(nn.MaxUnpool2d(2) if unpool else Interpolate(size, interpolation, align_corners))
        decoder.append(nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), after))
    return Autoencoder(encoder, up, decoder, make_output(output_activation))


class _Transposed(nn.ConvTranspose2d):
    """A 3x3 transposed convolution with stride 2 from (h // 2, w // 2) to exactly `size`, even or odd."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        # (n - 1) * 2 - 2 padding + 3 + output_padding: 2 n from padding 1 and 1, 2 n + 1 from 0 and 0.
        padding = (1 - size[0] % 2, 1 - size[1] % 2)
        super().__init__(inputs, outputs, 3, stride=2, padding=padding, output_padding=padding)


def _sizes(size: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Height and width before each of `count` poolings. Raises `ConfigError` when one meets a pixel."""
    sizes = [(size[0] >> i, size[1] >> i) for i in range(count)]
    if any(min(s) < 2 for s in sizes):
        message = f"{count} poolings halve a {size[0]}x{size[1]} image to nothing."
        raise ConfigError(Problem("model.channels", message, "Give fewer entries."))
    return sizes

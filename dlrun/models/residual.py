"""Residual networks: He et al., "Deep Residual Learning for Image Recognition", 2015 (block: fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.cnn import Cnn
from dlrun.models.parts import by_layer, check
from dlrun.spec import DataSpec


class Residual(nn.Module):
    """relu(shortcut(x) + F(x)), F two 3x3 convolutions. (N, C, H, W) to (N, outputs, H / stride, W / stride).

    The shortcut is x itself while the dimensions stay, else a 1x1 convolution (the paper's option B).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride, batch_norm)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(outputs, outputs, 3, 1, batch_norm)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, 1, stride, batch_norm)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, outputs, H / stride, W / stride), halves rounded up."""
        return self.relu2(self.shortcut(x) + self.conv2(self.relu1(self.conv1(x))))


def resnet(
    spec: DataSpec,
    channels: Sequence[int] = (16, 32, 64),
    blocks: int | Sequence[int] = 1,
    transition: str = "stride",
    kernel: int = 3,
    batch_norm: bool = True,
) -> nn.Module:
    """A residual network (He et al. 2015) of one stage for each entry of `channels`. (N, C, H, W) to (N, K).

    A stage has `blocks` residual blocks (one number, or a list by stage). How a stage begins is `transition`:

    * `pool`: a convolution (`kernel`) to its channels, ReLU and 2x2 max pooling; all blocks keep their
      dimensions.
    * `stride`: after one convolution (`kernel`) at the very start, the first block of each later stage has
      stride 2 and a 1x1 shortcut (the paper's section 4.2).

    The last map is averaged over H and W; `head` is one linear layer. Raises `ConfigError` for images that
    are too small for the poolings.
    """
    check(spec, "resnet", ("image",))
    counts = by_layer(blocks, len(channels), "model.blocks")
    if not channels:
        raise ConfigError(Problem("model.channels", "is empty.", "Give at least one stage."))
    layers: list[nn.Module] = []
    c, h, w = spec.input_shape
    if transition == "pool" and min(h, w) < 2 ** len(channels):
        message = f"{len(channels)} stages with a pooling each halve a {h}x{w} image to nothing."
        raise ConfigError(Problem("model.channels", message, "Give fewer stages, or model.transition=stride."))
    for stage, (outputs, count) in enumerate(zip(channels, counts, strict=True)):
        stride = 2 if transition == "stride" and stage > 0 else 1
        if transition == "pool" or stage == 0:
            layers += [_conv(c, outputs, kernel, 1, batch_norm), nn.ReLU()]
            c = outputs
        if transition == "pool":
            layers.append(nn.MaxPool2d(2))
        for block in range(count):
            layers.append(Residual(c, outputs, stride if block == 0 else 1, batch_norm))
            c = outputs
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
    return Cnn(features, nn.Linear(c, spec.num_outputs), nn.Identity())


def _conv(inputs: int, outputs: int, kernel: int, stride: int, batch_norm: bool) -> nn.Module:
    """A convolution padded by half the kernel, with batch norm in the place of its bias where asked for."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not batch_norm)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs)) if batch_norm else conv

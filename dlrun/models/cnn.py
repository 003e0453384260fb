"""A convolutional network from lists: channels, kernels, pooling, and a dense head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import activation as make_activation
from dlrun.models.parts import by_layer, check, conv_size, dense_head
from dlrun.models.parts import output_activation as make_output
from dlrun.spec import DataSpec


class Cnn(nn.Module):
    """`features` (the convolutions), then `head` (dense) on the flattened map, then `output`."""

    def __init__(self, features: nn.Module, head: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.output(self.head(self.features(x).flatten(1)))


def cnn(
    spec: DataSpec,
    channels: Sequence[int] = (16, 32),
    kernels: int | Sequence[int] = 3,
    strides: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = "same",
    pool: int | Sequence[int] = 2,
    pool_type: str = "max",
    pool_first: bool = False,
    activation: str = "relu",
    batch_norm: bool = False,
    global_pool: bool = False,
    head: Sequence[int] = (64,),
    dropout: float = 0.0,
    output_activation: str | None = None,
) -> nn.Module:
    """A convolutional network in the manner of LeNet-5 (LeCun et al. 1998, fig. 2). (N, C, H, W) to (N, K).

    For each entry of `channels`: convolution, batch norm, then activation and pooling (`pool_first` turns
    these two round). A kernel of 1 is the 1x1 convolution of Lin et al. 2013. Raises `ConfigError` where a
    kernel or a pooling is larger than the map that reaches it.
    """
    check(spec, "cnn", ("image",))
    count = len(channels)
    kernel_sizes = by_layer(kernels, count, "model.kernels")
    pads = [k // 2 for k in kernel_sizes] if padding == "same" else by_layer(padding, count, "model.padding")
    pools = by_layer(pool, count, "model.pool")
    steps = by_layer(strides, count, "model.strides")
    c, height, width = spec.input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(count):
        k, stride, pad, p = kernel_sizes[i], steps[i], int(pads[i]), pools[i]
        height, width = _map_size((height, width), k, stride, pad, p, layer=i + 1)
        layers[f"conv{i + 1}"] = nn.Conv2d(c, channels[i], k, stride, pad, bias=not batch_norm)
        if batch_norm:
            layers[f"norm{i + 1}"] = nn.BatchNorm2d(channels[i])
        after = [(f"activation{i + 1}", make_activation(activation))]
        if p > 1:
            pooling = nn.MaxPool2d(p) if pool_type == "max" else nn.AvgPool2d(p)
            after.insert(0 if pool_first else 1, (f"pool{i + 1}", pooling))
        layers.update(after)
        c = channels[i]
    if global_pool:
        layers["global_pool"] = nn.AdaptiveAvgPool2d(1)
        height = width = 1
    dense = dense_head(prod((c, height, width)), head, spec.num_outputs, activation, dropout)
    return Cnn(nn.Sequential(layers), dense, make_output(output_activation))


def _map_size(size: tuple[int, int], kernel: int, stride: int, padding: int, pool: int, layer: int) -> tuple[int, int]:
    """Height and width after layer `layer`; a kernel or a pooling that does not fit is a `ConfigError`."""
    h, w = size
    if kernel > min(h, w) + 2 * padding:
        message = f"the {kernel}x{kernel} kernel of layer {layer} is larger than the {h}x{w} map that reaches it"
        hint = "Use smaller kernels, padding=same, less pooling (model.pool), or fewer layers (model.channels)."
        raise ConfigError(Problem("model.kernels", f"{message} (padding {padding}).", hint))
    h, w = conv_size(h, kernel, stride, padding), conv_size(w, kernel, stride, padding)
    if pool > min(h, w):
        message = f"the {pool}x{pool} pooling of layer {layer} is larger than the {h}x{w} map that reaches it."
        hint = "Pool less, for instance model.pool=[2,2,1] (1: none), or use fewer layers."
        raise ConfigError(Problem("model.pool", message, hint))
    return conv_size(h, pool, pool), conv_size(w, pool, pool)

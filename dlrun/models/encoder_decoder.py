"""An encoder and a decoder: two networks in one model, so that one optimizer trains both.

`encoder.*` and `decoder.*` are the parameter names, for `freeze` and for learning-rate groups. Hinton and
Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 313, 2006 (dense);
Badrinarayanan, Kendall and Cipolla, "SegNet", 2015 (convolutions, an output per pixel).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import VECTOR_TASKS, check, dense, dense_head, output_layers, outputs
from dlrun.models.parts import activation as make_activation
from dlrun.spec import DataSpec


class EncoderDecoder(nn.Module):
    """`encoder`: input to code; `decoder`: code to output."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, K), the input's shape, or an output per pixel, (N, K, H, W)."""
        return self.decoder(self.encoder(x))


def encoder_decoder(
    spec: DataSpec,
    layers: str = "auto",
    encoder: Sequence[int] = (64, 16),
    decoder: Sequence[int] = (64,),
    activation: str = "relu",
    output_activation: str | None = None,
) -> nn.Module:
    """Two networks under one optimizer; the last width of `encoder` is the code's.

    `layers="dense"`: (N, ...) to (N, K), or to the input's shape for a reconstruction.
    `layers="conv"`: images (N, C, H, W) to (N, K, H, W) for labelling, (N, C, H, W) for a reconstruction.
    Each width of the encoder is a 3x3 convolution and a 2x2 max pooling; each of the decoder a doubling and
    a 3x3 convolution; the map then takes the image's size, and a 1x1 convolution gives the outputs.
    `auto` takes `conv` to label images, else `dense`. Raises `ConfigError` where task and layers do not fit.
    """
    check(spec, "encoder_decoder", ("tabular", "image"), (*VECTOR_TASKS, "reconstruction", "labelling"))
    if not encoder:
        raise ConfigError(Problem("model.encoder", "is empty, and its last width is the code's."))
    if layers == "auto":
        layers = "conv" if spec.task == "labelling" else "dense"
    if layers == "conv":
        return _convolutions(spec, encoder, decoder, activation, output_activation)
    if spec.task == "labelling":
        raise ConfigError(Problem("model.layers", "dense layers give no output per pixel.", "Use conv."))
    first = nn.Sequential(OrderedDict(flatten=nn.Flatten(), dense=dense(prod(spec.input_shape), encoder, activation)))
    second = dense_head(encoder[-1], decoder, outputs(spec), activation)
    second.add_module("output", output_layers(spec, output_activation))
    return EncoderDecoder(first, second)


def _convolutions(
    spec: DataSpec, encoder: Sequence[int], decoder: Sequence[int], activation: str, output: str | None
) -> EncoderDecoder:
    """The convolutional form; see `encoder_decoder`."""
    if spec.input_kind != "image" or spec.task not in ("labelling", "reconstruction"):
        message = f"conv layers label or restore images; {spec.name} is {spec.input_kind}, {spec.task}."
        raise ConfigError(Problem("model.layers", message, "Use dense."))
    c, h, w = spec.input_shape
    if min(h, w) < 2 ** len(encoder):
        message = f"{len(encoder)} poolings halve a {h}x{w} image to nothing."
        raise ConfigError(Problem("model.encoder", message, "Give fewer widths."))
    down: list[nn.Module] = []
    width = c
    for outputs_ in encoder:
        down += [nn.Conv2d(width, outputs_, 3, padding=1), make_activation(activation), nn.MaxPool2d(2)]
        width = outputs_
    up: list[nn.Module] = []
    for outputs_ in decoder:
        up += [nn.Upsample(scale_factor=2), nn.Conv2d(width, outputs_, 3, padding=1)]
        up += [make_activation(activation)]
        width = outputs_
    up += [nn.Upsample(size=(h, w), mode="bilinear")]
    up += [nn.Conv2d(width, spec.num_outputs if spec.task == "labelling" else c, 1)]
    # A reconstruction has the image's shape already: only the activation is left to add.
    last = output_layers(spec.replace(task="labelling"), output)
    return EncoderDecoder(nn.Sequential(*down), nn.Sequential(*up, last))

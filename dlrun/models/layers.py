"""The layers of torch.nn by their snake_case names, and how their input sizes are found.

`conv2d`, `batch_norm2d`, `max_pool2d`, `leaky_relu`: what a `sequential` model may name. Arguments are
torch's own, but for `out` (out_features or out_channels). The input's size (in_features, in_channels,
num_features, ...) comes from the shape that reaches the layer; one that is written down must agree with it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from dlrun.errors import Problem, did_you_mean

Shape = tuple[int, ...]

CLASSES = """
    Linear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d LPPool3d
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d
    AdaptiveAvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d
    LayerNorm GroupNorm RMSNorm LocalResponseNorm
    ELU Hardshrink Hardsigmoid Hardtanh Hardswish LeakyReLU LogSigmoid PReLU ReLU ReLU6 RReLU SELU CELU GELU
    Sigmoid SiLU Mish Softplus Softshrink Softsign Tanh Tanhshrink Threshold GLU
    Softmin Softmax Softmax2d LogSoftmax
    Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout
    Flatten Unflatten Identity Upsample PixelShuffle PixelUnshuffle ChannelShuffle
    ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d
    ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ConstantPad3d
    CircularPad1d CircularPad2d CircularPad3d
"""

# Input sizes, by the names of torch's arguments. Shapes are without the batch: (C, H, W), (T, F) or (F,).
INFERRED = ("in_features", "in_channels", "num_features", "num_channels", "normalized_shape")
HIDDEN = ("device", "dtype")  # these belong to the run


def snake(name: str) -> str:
    """`BatchNorm2d` to `batch_norm2d`, `LeakyReLU` to `leaky_relu`, `ReLU6` to `relu6`."""
    name = re.sub(r"([PR]?)ReLU", lambda found: found[1] + "relu" if found[1] else "Relu", name)
    name = name.replace("SiLU", "Silu")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


LAYERS: dict[str, type[nn.Module]] = {snake(name): getattr(nn, name) for name in CLASSES.split()}
LAYERS["interpolate"] = nn.Upsample  # F.interpolate as a layer


def known_arguments(kind: str) -> dict[str, inspect.Parameter]:
    """The arguments that a configuration may give to a layer, with `out` for what torch calls out_..."""
    parameters = dict(inspect.signature(LAYERS[kind]).parameters)
    if LAYERS[kind] is nn.Identity:
        return {}  # it takes anything, and ignores it
    known = {key: value for key, value in parameters.items() if key not in HIDDEN}
    out = out_argument(kind)
    return {"out": parameters[out], **known} if out else known


def check_arguments(kind: str, arguments: dict[str, Any], where: str) -> list[Problem]:
    """What is wrong with the names of a layer's arguments, or that one is missing."""
    known = known_arguments(kind)
    problems = []
    for key in arguments:
        if key not in known:
            free = [k for k in known if k not in INFERRED and k != out_argument(kind)]
            allowed = f"Allowed: {', '.join(free)}." if free else "It has none."
            message = f"{kind} has no argument {key!r}."
            problems.append(Problem(where, message, did_you_mean(str(key), known) or allowed))
    out = out_argument(kind)
    for key, parameter in known.items():
        if key == "out" and (key in arguments or out in arguments):
            continue
        if parameter.default is parameter.empty and key not in (*arguments, *INFERRED, out):
            problems.append(Problem(where, f"{kind} needs {key!r}.", f"For instance {{{kind}: {{{key}: 2}}}}."))
    return problems


def first_argument(kind: str) -> str | None:
    """The argument that a bare value means: `{linear: 64}`, `{dropout: 0.2}`, `{max_pool2d: 2}`."""
    first = next((key for key in known_arguments(kind) if key not in INFERRED), None)
    return None if first == "inplace" else first


def make_layer(kind: str, arguments: dict[str, Any], shape: Shape, auto: int) -> nn.Module:
    """The layer for an input of `shape`; `auto` is what `out: auto` means. Torch's errors pass through."""
    signature = inspect.signature(LAYERS[kind]).parameters
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    if "out" in values:
        values[str(out_argument(kind))] = values.pop("out")
    out = out_argument(kind)
    if out and values.get(out) == "auto":
        values[out] = auto
    for key in signature:
        if key in INFERRED and key not in values:
            values[key] = _input_size(key, shape)
    if "dim" in signature and signature["dim"].default is None:
        values.setdefault("dim", 1)  # softmax: over the classes; torch's own guess is deprecated
    return LAYERS[kind](**values)


def misfit(kind: str, arguments: dict[str, Any], shape: Shape) -> str | None:
    """The shape that the layer needs, as text, where `shape` is not it; else None."""
    name = LAYERS[kind].__name__
    if found := re.search(r"([123])d$", name):
        dimensions = int(found[1])
        letters = ("C", *("D", "H", "W")[-dimensions:]) if dimensions > 1 else ("C", "L")
        flat_too = name == "BatchNorm1d" and len(shape) == 1
        if len(shape) != dimensions + 1 and not flat_too:
            return f"(N, {', '.join(letters)})"
    for key in INFERRED:
        if key in arguments and key != "normalized_shape" and arguments[key] != _input_size(key, shape):
            last = key == "in_features"
            rest = ["..."] if len(shape) > 1 else []
            return f"(N, {', '.join([*rest, str(arguments[key])] if last else [str(arguments[key]), *rest])})"
    return None


def text(shape: Sequence[int]) -> str:
    """A shape with the batch: `(N, 10, 4, 4)`."""
    return f"({', '.join(['N', *map(str, shape)])})"


def out_argument(kind: str) -> str | None:
    """What torch calls the size of the layer's output: out_features, out_channels, or None."""
    parameters = inspect.signature(LAYERS[kind]).parameters
    return next((key for key in ("out_features", "out_channels") if key in parameters), None)


def _input_size(key: str, shape: Shape) -> int | Shape:
    """Linear layers and layer norm read the last dimension, all others the channels."""
    if key == "normalized_shape":
        return shape[-1:]
    return shape[-1] if key == "in_features" else shape[0]

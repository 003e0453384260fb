"""Small parts that several models share: activations, dense stacks, and the checks that end in a clear error.

In shapes, N is the batch, C channels, H and W the height and width of an image, F features, K outputs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from dlrun.errors import ConfigError, Problem, allowed_words
from dlrun.spec import DataSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}

VECTOR_TASKS = ("classification", "multilabel", "regression")  # one vector of K outputs a sample


def activation(name: str, key: str = "model.activation") -> nn.Module:
    """The activation of that name, elementwise. Raises `ConfigError` (at `key`) when there is none."""
    if name not in ACTIVATIONS:
        raise ConfigError(Problem(key, f"there is no activation {name!r}.", allowed_words(name, ACTIVATIONS)))
    return ACTIVATIONS[name]()


def output_activation(name: str | None) -> nn.Module:
    """What follows the last layer; `softmax` and `log_softmax` act on the class dimension, 1."""
    if name in ("softmax", "log_softmax"):
        return nn.Softmax(dim=1) if name == "softmax" else nn.LogSoftmax(dim=1)
    return nn.Identity() if name is None else activation(name, "model.output_activation")


def by_layer(value: object, count: int, key: str) -> list[Any]:
    """One value for all of `count` layers, or a list with one a layer. Raises `ConfigError` at `key`."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        message = f"has {len(value)} entries for {count} layers."
        raise ConfigError(Problem(key, message, "Give one value for all layers, or one a layer."))
    return list(value)


def check(spec: DataSpec, model: str, kinds: Sequence[str], tasks: Sequence[str] = VECTOR_TASKS) -> None:
    """Refuses data that the model cannot take, and tasks that it cannot serve (`ConfigError` at `model`)."""
    problems = []
    if spec.input_kind not in kinds:
        message = f"{model} takes {' and '.join(kinds)} data; {spec.name} is {spec.input_kind}."
        problems.append(Problem("model", message))
    if spec.task not in tasks:
        message = f"{model} serves {', '.join(tasks)}; the task of {spec.name} is {spec.task}."
        problems.append(Problem("model", message))
    if problems:
        raise ConfigError(problems)


def outputs(spec: DataSpec) -> int:
    """The width of the last layer: the input's size for a reconstruction, else `num_outputs`."""
    return prod(spec.input_shape) if spec.task == "reconstruction" else spec.num_outputs


def output_layers(spec: DataSpec, name: str | None) -> nn.Module:
    """What follows the last linear layer: the activation, and for a reconstruction the input's shape."""
    last = output_activation(name)
    if spec.task != "reconstruction":
        return last
    return nn.Sequential(last, nn.Unflatten(1, spec.input_shape))


def dense(
    inputs: int,
    widths: Sequence[int],
    activations: str | Sequence[str] = "relu",
    batch_norm: bool | Sequence[bool] = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """For each width: linear, batch norm, activation, dropout. (N, inputs) to (N, widths[-1])."""
    names = by_layer(activations, len(widths), "model.activation")
    norms = by_layer(batch_norm, len(widths), "model.batch_norm")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, width in enumerate(widths, start=1):
        layers[f"linear{i}"] = nn.Linear(inputs, width)
        if norms[i - 1]:
            layers[f"norm{i}"] = nn.BatchNorm1d(width)
        layers[f"activation{i}"] = activation(names[i - 1])
        if dropout:
            layers[f"dropout{i}"] = nn.Dropout(dropout)
        inputs = width
    return nn.Sequential(layers)


def dense_head(
    inputs: int, widths: Sequence[int], outputs: int, activation: str = "relu", dropout: float = 0.0
) -> nn.Sequential:
    """A dense stack that ends in a plain linear layer. (N, inputs) to (N, outputs)."""
    layers = dense(inputs, widths, activation, dropout=dropout)
    layers.add_module(f"linear{len(widths) + 1}", nn.Linear(widths[-1] if widths else inputs, outputs))
    return layers


def conv_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """The size after a convolution or pooling: floor((size + 2 padding - kernel) / stride) + 1."""
    return (size + 2 * padding - kernel) // stride + 1


def dry_forward(module: nn.Module, shape: Sequence[int]) -> Any:
    """The output for two samples of zeros of `shape`, in eval mode.

    BatchNorm's statistics, the random state and the modes of the modules stay as they were.
    """
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        output = module(torch.zeros(2, *shape))
    for m, training in modes:
        m.training = training
    return output


def shape_after(module: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """The output's shape, without the batch, for an input of `shape`."""
    return tuple(dry_forward(module, shape).shape[1:])

"""Fusion of several inputs, such as an image and its depth map: a branch each, joined for classes or a mask.

Late fusion as in Eitel et al., "Multimodal Deep Learning for Robust RGB-D Object Recognition", 2015, fig. 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem
from dlrun.models.parts import VECTOR_TASKS, check, dense, dense_head
from dlrun.models.parts import activation as make_activation
from dlrun.spec import DataSpec


class Fusion(nn.Module):
    """`branches`, one an input in the order of the batch; `head` on the joined outputs (dimension 1)."""

    def __init__(self, branches: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.head = head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Tensors (N, ...), one a branch: to (N, K), or to (N, K, H, W) for a label per pixel."""
        parts = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        return self.head(torch.cat(parts, dim=1))


def fusion(
    spec: DataSpec,
    channels: Sequence[int] = (16, 16),
    hidden: Sequence[int] = (32,),
    kernel: int = 3,
    activation: str = "relu",
) -> nn.Module:
    """One branch for each input, joined. (N, C, H, W) and more to (N, K), or to (N, K, H, W) for labelling.

    The branch of an image is a convolution (`kernel`, which keeps the size) for each of `channels`; of
    anything else one dense layer a width. For labelling the joined maps go through 1x1 convolutions of the
    widths `hidden`, so all inputs are images of one size; else the mean of each channel goes through dense
    layers. Raises `ConfigError` where the inputs cannot be joined so.
    """
    check(spec, "fusion", ("multi",), (*VECTOR_TASKS, "labelling"))
    shapes = (spec.input_shape, *spec.other_shapes)
    if not channels:
        raise ConfigError(Problem("model.channels", "is empty.", "Give at least one layer a branch."))
    if kernel % 2 == 0:
        raise ConfigError(Problem("model.kernel", f"is {kernel}: only an odd kernel keeps the size of a map."))
    mask = spec.task == "labelling"
    sizes = {shape[1:] if len(shape) == 3 else None for shape in shapes}
    if mask and (len(sizes) > 1 or None in sizes):
        message = f"fusion labels the pixels of images of one size; the inputs are {', '.join(map(str, shapes))}."
        raise ConfigError(Problem("model", message))
    branches = [_branch(shape, channels, kernel, activation, pooled=not mask) for shape in shapes]
    joined = channels[-1] * len(shapes)
    if not mask:
        return Fusion(branches, dense_head(joined, hidden, spec.num_outputs, activation))
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Conv2d(joined, width, 1), make_activation(activation)]
        joined = width
    return Fusion(branches, nn.Sequential(*layers, nn.Conv2d(joined, spec.num_outputs, 1)))


def _branch(shape: Sequence[int], channels: Sequence[int], kernel: int, activation: str, pooled: bool) -> nn.Module:
    """From one input to (N, channels[-1]), or to a map (N, channels[-1], H, W) if not `pooled`."""
    if len(shape) != 3:
        return nn.Sequential(nn.Flatten(), dense(prod(shape), channels, activation))
    layers: list[nn.Module] = []
    width = shape[0]
    for outputs in channels:
        layers += [nn.Conv2d(width, outputs, kernel, padding=kernel // 2), make_activation(activation)]
        width = outputs
    if pooled:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers)

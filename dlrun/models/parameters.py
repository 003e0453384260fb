"""A network of bare parameters: matrices in a `ParameterList` and a learnable vector, well initialized."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from dlrun.models.parts import VECTOR_TASKS, check
from dlrun.spec import DataSpec


class Matrices(nn.Module):
    """`enter` (linear) to width W, the `params` (W, W) in turn, `gain` (W,) elementwise, `head` (linear)."""

    def __init__(self, inputs: int, outputs: int, count: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        # A step adds two products. Entries of variance 1 / (2 W) let it keep the length of x; with N(0, 1)
        # and W = 10, ten steps multiply it by about 10^7, and training diverges.
        scale = (2 * width) ** -0.5
        self.params = nn.ParameterList([scale * torch.randn(width, width) for _ in range(count)])
        # Filled, never FloatTensor(width): that is memory as it was found, NaN among it.
        self.gain = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, K)."""
        x = self.enter(x.flatten(1))
        for i, p in enumerate(self.params):
            x = x @ self.params[i // 2].T + x @ p.T  # rows are samples: (P x)^T = x^T P^T
        return self.head(self.gain * x)


def parameter_list(spec: DataSpec, count: int = 10, width: int = 10) -> nn.Module:
    """x = params[i // 2] @ x + params[i] @ x for each of `count` matrices, between two linear layers.

    (N, ...) to (N, K). It is linear as a whole: an example of parameters without layers, not a strong model.
    """
    check(spec, "parameter_list", ("tabular", "image"), VECTOR_TASKS)
    return Matrices(prod(spec.input_shape), spec.num_outputs, count, width)

"""Models of dense layers: linear, polynomial, and the multilayer perceptron.

Each flattens its input to (N, F) and gives (N, K), or the input's shape for a reconstruction. The last layer
is `head`, what comes before it `body`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from dlrun.models.parts import VECTOR_TASKS, check, dense, output_layers, outputs
from dlrun.spec import DataSpec

KINDS = ("tabular", "image")
TASKS = (*VECTOR_TASKS, "reconstruction")


class Mlp(nn.Sequential):
    """(N, ...) to (N, K): `flatten`, `body` (a dense stack, may be empty), `head` (linear), `output` (activation)."""

    def __init__(self, body: nn.Module, head: nn.Linear, output: nn.Module) -> None:
        super().__init__(OrderedDict(flatten=nn.Flatten(), body=body, head=head, output=output))


class Powers(nn.Module):
    """(N, F) to (N, F * degree): x, x^2, ..., x^degree, all features of one power side by side."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) to (N, F * degree)."""
        return torch.cat([x**power for power in range(1, self.degree + 1)], dim=1)


def linear(spec: DataSpec, bias: bool = True, output_activation: str | None = None) -> nn.Module:
    """One linear layer: linear regression, or logistic regression with a sigmoid. (N, ...) to (N, K)."""
    check(spec, "linear", KINDS, TASKS)
    head = nn.Linear(prod(spec.input_shape), outputs(spec), bias=bias)
    return Mlp(nn.Sequential(), head, output_layers(spec, output_activation))


def polynomial(spec: DataSpec, degree: int = 2, bias: bool = True, init: str = "default") -> nn.Module:
    """A linear layer on the powers x, ..., x^degree of every feature, unmixed. (N, ...) to (N, K).

    `init="uniform"` draws weights and bias from [0, 1), as a first gradient descent by hand often does; `default` is
    torch's.
    """
    check(spec, "polynomial", KINDS)
    head = nn.Linear(prod(spec.input_shape) * degree, spec.num_outputs, bias=bias)
    if init == "uniform":
        for parameter in head.parameters():
            nn.init.uniform_(parameter)
    return Mlp(Powers(degree), head, nn.Identity())


def mlp(
    spec: DataSpec,
    hidden: Sequence[int] = (512,),
    activation: str | Sequence[str] = "relu",
    batch_norm: bool | Sequence[bool] = False,
    dropout: float = 0.0,
    output_activation: str | None = None,
) -> nn.Module:
    """A multilayer perceptron (Rumelhart, Hinton and Williams 1986). (N, ...) to (N, K).

    Each hidden layer is linear, batch norm (Ioffe and Szegedy 2015, before the activation), activation,
    dropout. `activation` and `batch_norm` are one value for all hidden layers, or a list with one a layer.
    """
    check(spec, "mlp", KINDS, TASKS)
    size = prod(spec.input_shape)
    body = dense(size, hidden, activation, batch_norm, dropout)
    head = nn.Linear(hidden[-1] if hidden else size, outputs(spec))
    return Mlp(body, head, output_layers(spec, output_activation))

"""A plain perceptron's backward pass, written out: autograd's bookkeeping takes longer than its small products.

For a chain of linear layers and activations without hooks, on the CPU in fp32, under a loss whose class says that it
leaves its inputs alone (`dlrun_fast = "chain"`): another may change its output in place, or hand back a gradient that
is laid out otherwise. The operations are those that autograd would call, on the same tensors: the same gradients to
the bit. The gradient of a plain cross entropy is written out, too, other losses' are autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrun.engine.fast.straight import leaves
from dlrun.spec import Loss
from dlrun.torch_private import has_hooks, is_hooked, knows_log_softmax, log_softmax, log_softmax_backward

IGNORED = -100  # the target that torch's cross entropy leaves out, where nothing else is said
aten = torch.ops.aten


class Linear(NamedTuple):
    """The parameters of an `nn.Linear`, fetched once: a module's attributes cost a tenth of a small step."""

    weight: Tensor
    bias: Tensor | None


class Activation(NamedTuple):
    """An activation, and `gradient(output's gradient, output)`, which gives its input's."""

    function: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(torch.relu, lambda gradient, result: aten.threshold_backward.default(gradient, result, 0)),
    nn.Tanh: Activation(torch.tanh, aten.tanh_backward.default),
    nn.Sigmoid: Activation(torch.sigmoid, aten.sigmoid_backward.default),
}


class Chain:
    """`forward` computes a model's output without autograd, `backward` adds its weights' gradients to `.grad`.

    `cross_entropy` says whether the loss is `cross_entropy` below for targets (N,), and its reduction.
    """

    def __init__(self, layers: list[nn.Module], cross_entropy: str | None = None) -> None:
        self.cross_entropy = cross_entropy
        self.layers = [
            Linear(layer.weight, layer.bias) if isinstance(layer, nn.Linear) else ACTIVATIONS[type(layer)]
            for layer in layers
        ]
        self.saved: list[Tensor] = []  # of a linear layer its input, of an activation its result
        self.no_grad = torch.no_grad()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output for inputs (N, ...), without autograd's graph."""
        saved: list[Tensor] = []
        with self.no_grad:
            x = x.flatten(1)
            for layer in self.layers:
                if isinstance(layer, Linear):
                    saved.append(x)
                    x = F.linear(x, *layer)
                else:
                    x = layer.function(x)
                    saved.append(x)
        self.saved = saved
        return x

    def backward(self, gradient: Tensor | None) -> None:
        """Compute the weights' gradients from that of the output (None: the loss does not depend on it)."""
        if gradient is None:
            return
        saved, self.saved = self.saved, []
        with self.no_grad:
            for place in range(len(saved) - 1, -1, -1):
                layer = self.layers[place]
                if isinstance(layer, Activation):
                    gradient = layer.gradient(gradient, saved[place])
                    continue
                weight, bias = layer
                if weight.requires_grad:
                    accumulate(weight, torch.mm(gradient.t(), saved[place]))
                if bias is not None and bias.requires_grad:
                    accumulate(bias, gradient.sum(0))
                if place:
                    gradient = torch.mm(gradient, weight)


def cross_entropy(output: Tensor, target: Tensor, reduction: str, seed: Tensor) -> tuple[Tensor, Tensor]:
    """`F.cross_entropy` of outputs (N, K) and classes (N,), and its gradient times `seed` (0-d), as autograd has it."""
    code = 1 if reduction == "mean" else 2
    logs = log_softmax(output, 1, False)
    loss, total = aten.nll_loss_forward.default(logs, target, None, code, IGNORED)
    gradient = aten.nll_loss_backward.default(seed, logs, target, None, code, IGNORED, total)
    return loss, log_softmax_backward(gradient, logs, 1, output.dtype)


def plain_cross_entropy(loss: Loss) -> str | None:
    """The reduction of dlrun's cross entropy without weights, smoothing or a class to ignore; None for all else."""
    unweighted = getattr(loss, "function", None) is F.cross_entropy and getattr(loss, "unweighted", False)
    if not unweighted or not knows_log_softmax():
        return None
    return str(loss.reduction) if getattr(loss, "options", None) == {"label_smoothing": 0.0} else None


def accumulate(parameter: Tensor, gradient: Tensor) -> None:
    """Add a gradient to `parameter.grad`, as autograd does."""
    before = parameter.grad
    parameter.grad = gradient if before is None else before.add_(gradient)


def chain(model: nn.Module, loss: Loss, dimensions: int) -> Chain | None:
    """The model as a chain that begins with a linear layer over flat rows, or None if it is anything else.

    `dimensions` are those of a sample. Layers of one number are left to autograd, which multiplies single rows by
    them in another order. Call it again after hooks were added or layers replaced.
    """
    if is_hooked(model) or not leaves_inputs_alone(loss):
        return None
    layers = list(leaves(model))
    if layers and type(layers[0]) is nn.Flatten and (layers[0].start_dim, layers[0].end_dim) == (1, -1):
        del layers[0]
    elif dimensions != 1:
        return None
    known = {nn.Linear, *ACTIVATIONS}
    if not layers or type(layers[0]) is not nn.Linear or any(type(layer) not in known for layer in layers):
        return None
    if any(isinstance(layer, nn.Linear) and layer.out_features == 1 for layer in layers[:-1]):
        return None
    weights = list(parameters(layers))
    if len({id(p) for p in weights}) < len(weights) or any(p.dtype != torch.float32 for p in weights):
        return None
    return None if any(has_hooks(p) for p in weights) else Chain(layers, plain_cross_entropy(loss))


def leaves_inputs_alone(loss: Loss) -> bool:
    """Does the very class of the loss say so, and is its function one of torch? A subclass has to say it again."""
    function = getattr(loss, "function", None)
    known = function is None or getattr(function, "__module__", None) == F.__name__
    known = known and vars(type(loss)).get("dlrun_fast") == "chain"
    return known and isinstance(loss, nn.Module) and not is_hooked(loss)


def parameters(layers: list[nn.Module]) -> Iterator[Tensor]:
    """Yield the parameters of all layers; one that layers share comes once for each of them."""
    for layer in layers:
        yield from layer.parameters()

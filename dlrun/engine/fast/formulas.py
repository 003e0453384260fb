"""Optimizer updates written as tensor operations, for a step that is traced and compiled as a whole.

Numbers that may change between steps (lr, momentum, ...) enter as a tensor, in double precision; what decides the
shape of the formula (nesterov, amsgrad, is there any weight decay) is `structure`, and another structure is another
trace. The formulas and the names of the state are those of torch.optim (SGD: Sutskever et al. 2013; Adam: Kingma &
Ba, https://arxiv.org/abs/1412.6980, algorithm 1; AdamW: Loshchilov & Hutter, https://arxiv.org/abs/1711.05101).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from dlrun.objectives.groups import Group
from dlrun.torch_private import is_ordinary

State = dict[str, Tensor]


@dataclass(frozen=True)
class Formula:
    """How one class of optimizer updates one parameter, in place.

    `update(p, gradient, state, numbers, structure)`; `numbers(group, steps)` are the values that `update` unbinds,
    where `steps` counts this step (0 when the optimizer does not count); `keys` is the state it needs.
    """

    update: Callable[[Tensor, Tensor, State, Tensor, Group], None]
    numbers: Callable[[Group, int], list[float]]
    structure: Callable[[Group], Group]
    keys: Callable[[Group], tuple[str, ...]]
    counts_steps: bool


def formula_for(optimizer: Optimizer) -> Formula | None:
    """The formula of this class of optimizer, or None: then only forward and backward are compiled."""
    kind = type(optimizer) if is_ordinary(optimizer) else None
    if kind is SGD:
        return Formula(_sgd, _sgd_numbers, _sgd_structure, _sgd_keys, counts_steps=False)
    if kind in (Adam, AdamW):
        structure = partial(_adam_structure, decoupled=kind is AdamW)
        return Formula(_adam, _adam_numbers, structure, _adam_keys, counts_steps=True)
    return None


def _sgd(p: Tensor, gradient: Tensor, state: State, numbers: Tensor, structure: Group) -> None:
    lr, momentum, damped, decay = numbers.to(p.dtype).unbind()
    if structure["maximize"]:
        gradient = -gradient
    if structure["decay"]:
        gradient = gradient + decay * p
    if structure["momentum"]:
        buffer = state["momentum_buffer"].mul_(momentum).add_(damped * gradient)
        gradient = gradient + momentum * buffer if structure["nesterov"] else buffer
    p.sub_(lr * gradient)


def _sgd_numbers(group: Group, steps: int) -> list[float]:
    return [group["lr"], group["momentum"], 1 - group["dampening"], group["weight_decay"]]


def _sgd_structure(group: Group) -> Group:
    flags = {"maximize": group["maximize"], "nesterov": group["nesterov"]}
    return flags | {"momentum": group["momentum"] != 0, "decay": group["weight_decay"] != 0}


def _sgd_keys(group: Group) -> tuple[str, ...]:
    return ("momentum_buffer",) if group["momentum"] != 0 else ()


def _adam(p: Tensor, gradient: Tensor, state: State, numbers: Tensor, structure: Group) -> None:
    rate, shrink, rest1, beta2, rest2, unroot, eps, decay = numbers.to(p.dtype).unbind()
    if structure["maximize"]:
        gradient = -gradient
    if structure["decoupled"]:
        p.mul_(shrink)
    elif structure["decay"]:
        gradient = gradient + decay * p
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.add_(rest1 * (gradient - mean))
    square.mul_(beta2).add_(rest2 * gradient * gradient)
    if structure["amsgrad"]:
        square = state["max_exp_avg_sq"].copy_(torch.maximum(state["max_exp_avg_sq"], square))
    p.sub_(rate * mean / (square.sqrt() * unroot + eps))


def _adam_numbers(group: Group, steps: int) -> list[float]:
    """Adam's numbers, with the bias corrections 1 - beta^steps, of which float32 would lose digits."""
    lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
    rate, unroot = lr / (1 - beta1**steps), (1 - beta2**steps) ** -0.5
    return [rate, 1 - lr * decay, 1 - beta1, beta2, 1 - beta2, unroot, group["eps"], decay]


def _adam_structure(group: Group, decoupled: bool) -> Group:
    decay = group["weight_decay"] != 0
    decoupled = decay and group.get("decoupled_weight_decay", decoupled)  # torch < 2.7 has no such key
    return {"maximize": group["maximize"], "amsgrad": group["amsgrad"], "decay": decay, "decoupled": decoupled}


def _adam_keys(group: Group) -> tuple[str, ...]:
    names = ("step", "exp_avg", "exp_avg_sq")
    return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

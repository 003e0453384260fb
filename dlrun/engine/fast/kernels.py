"""Optimizer updates by torch's fused kernels, called directly on the optimizer's own state and groups.

A small step of `torch.optim` spends most of its time outside the kernel: for every step it sorts tensors by
device and type, profiles, and looks for hooks. Here the lists of tensors are collected once and kept while the
optimizer holds the same state; lr, momentum and the rest are read from the groups at each step, so that schedules
need not know. A step that finds a parameter without its state, as the first one does, is torch's own: the state is
made by torch, is what torch would hold, and its `state_dict` goes to and from a plain optimizer. Which of the two
a step is depends on gradients and state alone, not on what was cached: a resumed run repeats it bit for bit.

The kernels (`torch._fused_sgd_` and its siblings) are private to torch: where one is missing, or a setting is not
covered, `fused_update` gives None and every step is torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from dlrun.engine.fast.snapshot import StateSnapshot, joined_counts, same
from dlrun.objectives.groups import Group
from dlrun.objectives.without_dynamo import step_optimizer
from dlrun.torch_private import FusedKernel, fused_kernel, is_ordinary

Tensors = list[Tensor]


@dataclass(frozen=True)
class Kernel:
    """A fused kernel: `call(op, group, params, grads, state)`, and the state it needs under these settings."""

    op: str  # its name, as in `torch_private.fused_kernel`
    call: Callable[[FusedKernel, Group, Tensors, Tensors, dict[str, Tensors]], None]
    keys: Callable[[Group], tuple[str, ...]]


def _sgd(op: FusedKernel, group: Group, params: Tensors, grads: Tensors, state: dict[str, Tensors]) -> None:
    op(
        params,
        grads,
        state.get("momentum_buffer", []),
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=group["dampening"],
        nesterov=group["nesterov"],
        maximize=group["maximize"],
        is_first_step=False,
    )


def _adam(op: FusedKernel, group: Group, params: Tensors, grads: Tensors, state: dict[str, Tensors]) -> None:
    beta1, beta2 = group["betas"]
    op(
        params,
        grads,
        state["exp_avg"],
        state["exp_avg_sq"],
        state.get("max_exp_avg_sq", []),
        state["step"],
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=group["amsgrad"],
        maximize=group["maximize"],
    )


def _adagrad(op: FusedKernel, group: Group, params: Tensors, grads: Tensors, state: dict[str, Tensors]) -> None:
    settings = {key: group[key] for key in ("lr", "lr_decay", "weight_decay", "eps", "maximize")}
    op(params, grads, state["sum"], state["step"], **settings)


def _sgd_keys(group: Group) -> tuple[str, ...]:
    return ("momentum_buffer",) if group["momentum"] != 0 else ()


def _adam_keys(group: Group) -> tuple[str, ...]:
    names = ("step", "exp_avg", "exp_avg_sq")
    return (*names, "max_exp_avg_sq") if group["amsgrad"] else names


def _adagrad_keys(group: Group) -> tuple[str, ...]:
    return ("step", "sum")


def _kernel(optimizer: Optimizer, group: Group) -> Kernel | None:
    """The kernel for this class of optimizer (a subclass may do anything) and this group."""
    kind = type(optimizer)
    if kind is SGD:
        return Kernel("sgd", _sgd, _sgd_keys)
    if kind is Adagrad:
        return Kernel("adagrad", _adagrad, _adagrad_keys)
    if kind in (Adam, AdamW):
        decoupled = group.get("decoupled_weight_decay", kind is AdamW)  # torch < 2.7 has no such key
        return Kernel("adamw" if decoupled else "adam", _adam, _adam_keys)
    return None


class Flushing:
    """A context in which numbers too small for their exponent become 0 (on this thread of the CPU).

    A moment whose gradients have ended decays into them, and a processor is some ten times slower there. Not for
    the whole process: numpy warns of it.
    """

    def __enter__(self) -> None:
        self.done = torch.set_flush_denormal(True)

    def __exit__(self, *exception: object) -> None:
        if self.done:
            torch.set_flush_denormal(False)


flushing = Flushing()


@dataclass(frozen=True)
class GroupTensors:
    """What the kernel of one group is called with."""

    group: Group
    kernel: Kernel
    op: FusedKernel
    keys: tuple[str, ...]
    weights: Tensors  # of the group
    params: Tensors  # those of them with a gradient
    idle: Tensors  # and those without
    state: dict[str, Tensors]
    counts: Tensor | None  # the steps of all parameters as one tensor: what `state["step"]` are views of

    def update(self, grads: Tensors, **changed: Tensor) -> None:
        """Update this group; `changed` are settings to use instead of the group's."""
        group = {**self.group, **changed} if changed else self.group
        if self.counts is not None:
            self.counts.add_(1)
        with flushing:
            self.kernel.call(self.op, group, self.params, grads, self.state)

    def holds(self, group: Group) -> bool:
        """Are group and weights the same that the lists were made of?"""
        if self.group is not group or self.keys != self.kernel.keys(group):
            return False
        return same(group["params"], self.weights)


class FusedUpdate:
    """`update()` is `optimizer.step(); optimizer.zero_grad()`. Made by `fused_update`."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.held = StateSnapshot({})  # the optimizer's state when the lists were made
        self.lists: list[GroupTensors] = []

    def __call__(self) -> None:
        """Take one step, and set the gradients to None."""
        ordinary = is_ordinary(self.optimizer)
        gradients = self.gradients() if ordinary else None
        if gradients is None and ordinary:  # another state, or gradients of other parameters
            self.collect()
            gradients = self.gradients()
        if gradients is None:
            step_optimizer(self.optimizer)
        else:
            with torch.no_grad():
                for lists, grads in zip(self.lists, gradients, strict=True):
                    lists.update(grads)
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = None

    def gradients(self) -> list[Tensors] | None:
        """The gradients of each group, or None if the lists do not fit this step."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.lists) or not self.held.unchanged(self.optimizer.state):
            return None
        columns = []
        for group, lists in zip(groups, self.lists, strict=True):
            if not lists.holds(group):
                return None
            for p in lists.idle:
                if p.grad is not None:
                    return None
            grads: Tensors = []
            for p in lists.params:
                if p.grad is None:
                    return None
                grads.append(p.grad)
            columns.append(grads)
        return columns

    def collect(self) -> None:
        """Make the lists of tensors for the present state and gradients; none are made if a kernel cannot take them."""
        lists = [self.collect_group(group) for group in self.optimizer.param_groups]
        self.lists = [item for item in lists if item is not None]
        self.held = StateSnapshot(self.optimizer.state)

    def collect_group(self, group: Group) -> GroupTensors | None:
        """Make the lists of one group; None if its kernel cannot take them."""
        kernel = _kernel(self.optimizer, group)
        op = fused_kernel(kernel.op) if kernel is not None else None
        params = [p for p in group["params"] if p.grad is not None]
        if kernel is None or op is None or not _is_covered(group) or not _alike(params):
            return None
        keys = kernel.keys(group)
        state: dict[str, Tensors] = {key: [] for key in keys}
        for p in params:
            entry = self.optimizer.state.get(p, {})
            for key in keys:
                if not isinstance(entry.get(key), Tensor) or entry[key].device != p.device:
                    return None
                entry[key] = _laid_out_like(p, entry[key])
                state[key].append(entry[key])
        counts = None
        if "step" in keys and params:
            counts = joined_counts([self.optimizer.state[p] for p in params])
            state["step"] = [self.optimizer.state[p]["step"] for p in params]
        idle = [p for p in group["params"] if p.grad is None]
        return GroupTensors(group, kernel, op, keys, list(group["params"]), params, idle, state, counts)


def _is_plain(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.layout is torch.strided and tensor.is_floating_point()


def _is_covered(group: Group) -> bool:
    """Is there no setting under which torch takes another code path? Only there a learning rate may be a tensor."""
    settings = ("capturable", "differentiable")
    return not any(group.get(setting) for setting in settings) and not isinstance(group["lr"], Tensor)


def _alike(params: Tensors) -> bool:
    """Can one call of a kernel take these: one device and type, dense real numbers, gradients laid out as weights?

    Autograd lays new gradients out so; those from a checkpoint may lie otherwise.
    """
    kinds = {(p.device, p.dtype) for p in params}
    return len(kinds) <= 1 and all(_is_plain(p) and _is_plain(p.grad) and _same_layout(p, p.grad) for p in params)


def _same_layout(p: Tensor, other: Tensor | None) -> bool:
    """Are the strides the same, but for dimensions of size 1, where they mean nothing?"""
    if other is None:
        return False
    return all(n == 1 or a == b for n, a, b in zip(p.shape, p.stride(), other.stride(), strict=True))


def _laid_out_like(p: Tensor, value: Tensor) -> Tensor:
    """`value` with the strides of `p`: the kernels on the CPU walk both as they lie in memory.

    They differ when a checkpoint was written with another memory format than the model has now.
    """
    if value.shape != p.shape or _same_layout(p, value):
        return value
    return torch.empty_like(p).copy_(value)


def fused_update(optimizer: Optimizer) -> FusedUpdate | None:
    """`step` and `zero_grad` of this optimizer by fused kernels, or None if its class, its settings, its weights or
    its hooks allow none.
    """
    groups = optimizer.param_groups
    kernels = [_kernel(optimizer, group) for group in groups]
    if any(kernel is None or fused_kernel(kernel.op) is None for kernel in kernels):
        return None
    mixed = any(len({(p.device, p.dtype) for p in group["params"]}) > 1 for group in groups)
    if mixed or not is_ordinary(optimizer) or not all(_is_covered(group) for group in groups):
        return None
    return FusedUpdate(optimizer)

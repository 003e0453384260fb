"""Tracing a whole training step into one graph. See compiled.py."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from dlrun.engine.fast.formulas import Formula
from dlrun.engine.fast.side_effects import SideEffects, refusal
from dlrun.engine.fast.snapshot import same
from dlrun.engine.state import TrainState
from dlrun.engine.step import autocast
from dlrun.errors import ConfigError, Problem, first_line
from dlrun.spec import Batch, Forward
from dlrun.torch_private import Graph, compile_graph, tracer


class Trace:
    """The traced and compiled graph of a step.

    Its inputs are `fixed` (weights, then buffers and frozen weights), for a whole step the optimizer's state and
    the numbers, and the batch. Weights, buffers and state are changed in place.
    """

    def __init__(
        self, state: TrainState, example: Batch, formula: Formula | None, clip_norm: float | None, precision: str
    ) -> None:
        self.state, self.formula, self.clip_norm, self.precision = state, formula, clip_norm, precision
        groups = state.optimizer.param_groups
        self.groups = [[p for p in group["params"] if p.requires_grad] for group in groups]
        self.params = [p for params in self.groups for p in params]
        self.keys = [formula.keys(group) if formula else () for group in groups]
        self.structures = [formula.structure(group) if formula else {} for group in groups]
        self.lengths = [len(formula.numbers(group, 1)) if formula else 0 for group in groups]
        self.names = names_of(state.model, self.params)
        others = [*state.model.named_parameters(), *state.model.named_buffers()]
        self.others = {name: tensor for name, tensor in others if name not in self.names}
        self.loss_buffers = dict(state.loss.named_buffers()) if isinstance(state.loss, nn.Module) else {}
        self.held = [*self.params, *self.others.values(), *self.loss_buffers.values()]
        self.fixed = [tensor.detach() for tensor in self.held]
        self.places = [tensor.data_ptr() for tensor in self.held]
        self.used: list[Tensor] = []  # weights that the loss depends on; known after tracing
        self.replaced = ""  # a buffer that the model replaced as it was traced
        self.graph = self.compile(example)

    def compile(self, example: Batch) -> Graph:
        """Trace the step and compile the graph. Raises `ConfigError`."""
        inputs = list(self.fixed)
        if self.formula is not None:
            inputs += [torch.zeros_like(p) for p, _ in self.slots()]
            inputs.append(torch.zeros(sum(self.lengths), dtype=torch.float64, device=self.state.device))
        inputs += [*example.inputs, example.target]
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns where there is no GPU
        self.refuse(refusal(self.state.model))
        before = SideEffects(self.state.model, self.state.loss)
        try:
            trace = tracer(self.step, decompositions())
            trace(*inputs)  # what one step sets and the next sets again is no change
            between = SideEffects(self.state.model, self.state.loss)
            graph = trace(*inputs)
            self.refuse(between.change() or self.replaced)
            before.restore()
            return compile_graph(graph, inputs, unwrap=self.state.device.type == "cpu")
        except ConfigError:
            raise
        except Exception as error:
            raise cannot_compile(first_line(error) or type(error).__name__) from error

    def refuse(self, reason: str) -> None:
        """Raise `ConfigError` if there is a reason why the step cannot be recorded."""
        if reason:
            raise cannot_compile(f"{reason}.")

    def slots(self) -> list[tuple[Tensor, str]]:
        """The places of the optimizer's state in the inputs: weight and key, without the count of steps."""
        pairs = zip(self.groups, self.keys, strict=True)
        return [(p, key) for params, keys in pairs for p in params for key in keys if key != "step"]

    def step(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """The function that is traced. Returns the loss, the output and, without the update in it, the gradients."""
        rest = list(flat)
        weights = take(rest, len(self.params))
        others = dict(zip(self.others, take(rest, len(self.others)), strict=True))
        loss_buffers = dict(zip(self.loss_buffers, take(rest, len(self.loss_buffers)), strict=True))
        slots = take(rest, len(self.slots()))
        numbers = rest.pop(0) if self.formula is not None else None
        *inputs, target = rest
        leaves = [weight.detach().requires_grad_() for weight in weights]
        given = dict(zip(self.names, leaves, strict=True)) | others
        # functional_call writes what was replaced into what it is given.
        used, loss_used = dict(given), dict(loss_buffers)
        with torch.enable_grad(), autocast(target.device.type, self.precision):
            output = functional_call(self.state.model, used, tuple(inputs))
            loss_function = self.state.loss
            loss = (
                functional_call(loss_function, loss_used, (output, target))
                if isinstance(loss_function, nn.Module)
                else loss_function(output, target)
            )
        replaced = [name for name in given if used[name] is not given[name]]
        replaced += [name for name in loss_buffers if loss_used[name] is not loss_buffers[name]]
        self.replaced = f"a step replaces {replaced[0]}: change it in place" if replaced else ""
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        self.used = [self.params[i] for i in known]
        found = [gradients[i] for i in known]
        if numbers is None:
            return loss.detach(), output.detach(), *found
        if self.clip_norm is not None:
            found = clipped(found, self.clip_norm)
        self.update(weights, dict(zip(known, found, strict=True)), slots, numbers)
        return loss.detach(), output.detach()

    def update(self, weights: list[Tensor], gradients: dict[int, Tensor], slots: list[Tensor], numbers: Tensor) -> None:
        """Apply the optimizer's formula to every weight that has a gradient."""
        assert self.formula is not None
        values = numbers.split(self.lengths)
        index, place = 0, 0
        for params, keys, structure, value in zip(self.groups, self.keys, self.structures, values, strict=True):
            names = [key for key in keys if key != "step"]
            for _ in params:
                state = dict(zip(names, slots[place : place + len(names)], strict=True))
                if index in gradients:
                    self.formula.update(weights[index], gradients[index], state, value, structure)
                index, place = index + 1, place + len(names)

    def fits(self, optimizer: Optimizer) -> bool:
        """Are the weights those that were traced, in the same memory, and has the formula the same structure?"""
        groups, formula = optimizer.param_groups, self.formula
        if len(groups) != len(self.groups):
            return False
        for group, params, structure in zip(groups, self.groups, self.structures, strict=True):
            if not same([p for p in group["params"] if p.requires_grad], params):
                return False
            if formula is not None and formula.structure(group) != structure:
                return False
        return [tensor.data_ptr() for tensor in self.held] == self.places


def cannot_compile(reason: str) -> ConfigError:
    """The error of a step that cannot be compiled, whose reason is a sentence."""
    return ConfigError(
        Problem("device.compile", f"this step cannot be compiled: {reason}", "Use device.compile=false.")
    )


def decompositions() -> dict[object, Forward]:
    """Write a linear layer on the CPU as a product and a sum, which joins the activation's kernel.

    `addmm` writes the bias out first, half of a small layer's time. The sum is written as a difference, since
    TorchInductor joins a product and a sum to `addmm` again.
    """

    def unfused(bias: Tensor, rows: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        if bias.device.type != "cpu" or bias.dtype != torch.float32 or beta != 1 or alpha != 1:
            return NotImplemented
        return torch.mm(rows, weight) - (-bias)

    return {torch.ops.aten.addmm.default: unfused}


def take(tensors: list[Tensor], count: int) -> list[Tensor]:
    """Remove the first `count` tensors and return them."""
    taken = tensors[:count]
    del tensors[:count]
    return taken


def names_of(model: nn.Module, params: list[Tensor]) -> list[str]:
    """The name of each parameter in the model."""
    names = {id(p): name for name, p in model.named_parameters()}
    if any(id(p) not in names for p in params):
        raise cannot_compile("the optimizer has weights that are not the model's.")
    return [names[id(p)] for p in params]


def clipped(gradients: list[Tensor], clip_norm: float) -> list[Tensor]:
    """The gradients with their norm, all together, at most `clip_norm` (torch.nn.utils.clip_grad_norm_)."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]

"""The whole step compiled: forward, loss, backward, clip and update are traced into one graph.

For `device.compile=true`. Compiling takes from five seconds to half a minute and repays itself in long runs of
small models, where the step is mostly the calling of operations. Compiling the model alone does not help: what
remains is the larger part. Nor does `torch.compile` around the step: its checks before each call cost as much as
a small step computes. So the step is traced once (make_fx, under fake tensors: a model whose Python depends on
values is refused, not traced wrongly; so is one whose Python changes something, see side_effects.py) and the graph is
given to TorchInductor itself.

The first step of all, in which torch makes the optimizer's state, and batches of another size (the last of an
epoch, unless epochs are so short that it has a graph of its own) take the eager fast step: the same numbers, and
nothing is compiled as training goes on. Random numbers (in dropout) are eager torch's own, so a resumed run draws
what the uninterrupted one drew.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.engine.fast.binding import Binding, bind
from dlrun.engine.fast.formulas import formula_for
from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.kernels import flushing
from dlrun.engine.fast.trace import Trace
from dlrun.engine.state import StepResult, TrainState
from dlrun.spec import Batch
from dlrun.torch_private import is_ordinary

Shapes = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]


class CompiledStep:
    """One compiled graph for batches like each of `examples`, and the eager step for all others.

    The update is in the graph where the optimizer has a formula and every batch is a step (`whole`); otherwise
    the graph ends with the gradients, and the eager step's update follows. Making it compiles it, and raises
    `ConfigError` where the model or the machine does not allow that.
    """

    name = "compiled"

    def __init__(self, state: TrainState, eager: FusedStep, *examples: Batch, accumulate: int = 1) -> None:
        self.eager = eager
        formula = formula_for(state.optimizer) if accumulate == 1 else None
        self.whole = formula is not None
        state.train_mode()
        self.traces = {
            shapes(example): Trace(state, example, formula, eager.clip_norm, eager.precision) for example in examples
        }
        self.bindings: dict[Shapes, Binding] = {}
        self.no_grad = torch.no_grad()

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch. Returns its loss (0-d) and the model's output, both detached and still on the device."""
        key = shapes(batch)
        trace = self.traces.get(key)
        if trace is None:
            return self.eager(state, batch, scale, update)
        if not self.whole:
            if not trace.fits(state.optimizer):
                return self.eager(state, batch, scale, update)
            with torch.no_grad():
                loss, output, *gradients = trace.graph(*trace.fixed, *batch.inputs, batch.target)
                accumulate_gradients(trace.used, gradients, scale)
            if update:
                self.eager.update(state)
            return loss, output
        if not is_ordinary(state.optimizer):  # hooks on its steps were registered meanwhile
            return self.eager(state, batch, scale, update)
        binding = self.bindings.get(key)
        if binding is None or not binding.holds(state.optimizer):
            binding = bind(trace, state.optimizer)
            if binding is None:
                return self.eager(state, batch, scale, update)
            self.bindings[key] = binding
        numbers = binding.next_numbers()
        with self.no_grad, flushing:
            loss, output = trace.graph(*binding.tensors, numbers, *batch.inputs, batch.target)
        return loss, output


def shapes(batch: Batch) -> Shapes:
    """The shapes, strides and types of a batch, for which a graph is compiled."""
    return tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in (*batch.inputs, batch.target))


def accumulate_gradients(params: list[Tensor], gradients: list[Tensor], scale: float) -> None:
    """Add `scale` times the gradients to `.grad`, in the weights' own memory format, as autograd does."""
    given: set[int] = set()  # two weights with equal gradients may be given the same memory
    for p, gradient in zip(params, gradients, strict=True):
        place = gradient.data_ptr()
        if gradient.stride() != p.stride() or place in given:
            gradient = torch.empty_like(p).copy_(gradient)
        given.add(place)
        if scale != 1.0:
            gradient = gradient * scale
        p.grad = gradient if p.grad is None else p.grad.add_(gradient)

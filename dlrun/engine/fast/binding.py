"""A traced step bound to the optimizer's state: what its graph is called with. See compiled.py."""

from __future__ import annotations

from array import array

import torch
from torch import Tensor
from torch.optim import Optimizer

from dlrun.engine.fast.snapshot import StateSnapshot, joined_counts
from dlrun.engine.fast.trace import Trace
from dlrun.objectives.groups import Group
from dlrun.torch_private import version


class Binding:
    """The inputs of the graph that stay the same from step to step, while the optimizer holds the same state."""

    def __init__(
        self,
        trace: Trace,
        optimizer: Optimizer,
        tensors: list[Tensor],
        counts: list[Tensor | None],  # the steps of each group
    ) -> None:
        assert trace.formula is not None
        self.trace, self.optimizer, self.formula = trace, optimizer, trace.formula
        self.tensors, self.counts, self.held = tensors, counts, StateSnapshot(optimizer.state)
        self.device = tensors[0].device
        # On the CPU the counts' memory itself; elsewhere the counts as Python knows them while nobody else counts.
        on_cpu = self.device.type == "cpu"
        self.arrays = [None if count is None or not on_cpu else count.numpy() for count in counts]
        self.steps = [0 for _ in counts]
        self.versions = [-1.0 for _ in counts]
        self.values: list[float] = []
        lengths = [len(self.formula.numbers(group, 1)) for group in optimizer.param_groups]
        self.buffer = array("d", bytes(8 * sum(lengths))) if on_cpu else None
        self.numbers = torch.empty(0) if self.buffer is None else torch.frombuffer(self.buffer, dtype=torch.float64)

    def holds(self, optimizer: Optimizer) -> bool:
        """Does the optimizer still hold the state and weights that this was bound to? They may have been replaced."""
        return self.held.unchanged(optimizer.state) and self.trace.fits(optimizer)

    def next_numbers(self) -> Tensor:
        """Count the next step, and return the numbers of its update, read from the optimizer's groups."""
        values: list[float] = []
        for i, group in enumerate(self.optimizer.param_groups):
            if self.counts[i] is not None:
                self.count(i)
            values += map(float, self.formula.numbers(group, self.steps[i]))  # a rate may be a tensor
        if values != self.values:
            self.values = values
            if self.buffer is None:
                self.numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
            else:
                self.buffer[:] = array("d", values)  # the memory of `numbers`: a third of a new tensor's time
        return self.numbers

    def count(self, group: int) -> None:
        """Add 1 to the number of steps of a group."""
        count, values = self.counts[group], self.arrays[group]
        assert count is not None
        if values is not None:  # a third of the time of `add_`
            values += 1
            self.steps[group] = int(values[0])
            return
        if version(count) != self.versions[group]:  # the eager step has counted as well
            self.steps[group] = int(count[0])
        count.add_(1)
        self.steps[group] += 1
        self.versions[group] = version(count)


def bind(trace: Trace, optimizer: Optimizer) -> Binding | None:
    """Bind the graph to the optimizer's present state. None where that is not complete or does not fit the graph."""
    assert trace.formula is not None
    if not trace.fits(optimizer):
        return None
    used = set(map(id, trace.used))
    tensors = list(trace.fixed)
    for p, key in trace.slots():
        value = optimizer.state.get(p, {}).get(key, None if id(p) in used else p.detach())
        if value is None:
            return None
        if value.stride() != p.stride():  # from a checkpoint in another memory format
            value = optimizer.state[p][key] = torch.empty_like(p).copy_(value)
        tensors.append(value)
    counts: list[Tensor | None] = [None for _ in trace.groups]
    if trace.formula.counts_steps:
        entries: list[list[Group]] = [[optimizer.state[p] for p in params if id(p) in used] for params in trace.groups]
        counts = [joined_counts(column) if column else None for column in entries]
    if any(count is not None and bool((count != count[0]).any()) for count in counts):
        return None
    return Binding(trace, optimizer, tensors, counts)

"""The step as a CUDA graph: recorded once, replayed with one launch.

A small model leaves a GPU waiting for Python. Here forward, loss, backward, clip and update are recorded into a
graph (https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) over buffers that stay where they are: a batch
is copied in, the graph replayed, loss and output copied out; nothing waits for the device. The learning rates are
tensors that the fused kernels read, so a schedule only refills them; if any other setting of the optimizer
changes, the graph is recorded again. Batches of another size (the last of an epoch), accumulated ones and the
first few take the eager step, whose numbers are the same.

The optimizer's state is its own, as under torch's `fused=True`: the counts of steps lie on the device. That
setting is written into its groups, so that a checkpoint says so and goes on with torch's own step as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from dlrun.engine.fast.fused import FusedStep
from dlrun.engine.fast.kernels import FusedUpdate, GroupTensors
from dlrun.engine.fast.side_effects import SideEffects, refusal
from dlrun.engine.state import StepResult, TrainState
from dlrun.engine.step import clip
from dlrun.errors import first_line
from dlrun.objectives.groups import Group
from dlrun.spec import Batch
from dlrun.torch_private import is_ordinary

WARM_UP = 3  # eager steps on a side stream before the capture, so that libraries have made their workspaces
MOST_CAPTURES = 5  # of settings that change again and again: then the eager step is the faster one


class GraphStep:
    """A graph for batches of `rows` rows, and `eager` for all others. `eager` has fused kernels."""

    name = "graph"

    def __init__(self, eager: FusedStep, update: FusedUpdate, rows: int) -> None:
        self.eager = eager
        self.fused_update = update
        self.rows = rows
        self.warm = 0
        self.captures = 0
        self.refused = ""  # why the step cannot be recorded, for the throughput doctor to tell
        self.graph: torch.cuda.CUDAGraph | None = None
        self.settings: list[Group] = []
        self.lists: list[GroupTensors] | None = None  # of the optimizer's tensors, when the graph was recorded
        self.shapes: list[torch.Size] = []
        self.held: list[Tensor] = []  # the model's weights and buffers
        self.places: list[tuple[int, bool]] = []  # of these
        self.rates: list[float] = []
        self.rate_tensors: list[Tensor] = []
        self.inputs: tuple[Tensor, ...] = ()
        self.target = torch.empty(0)
        self.loss = torch.empty(0)
        self.output = torch.empty(0)

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """One batch. Returns its loss (0-d) and the model's output, both detached and still on the device."""
        usual = len(batch.target) == self.rows and scale == 1.0 and update
        if not usual or self.refused or not is_ordinary(state.optimizer):
            return self.eager(state, batch, scale, update)
        if not self.holds(state.optimizer):  # loaded or frozen since: the eager step makes new lists
            self.warm, self.graph = 0, None
        if self.warm < WARM_UP:
            self.warm += 1
            use_device_counts(state.optimizer)
            return self.warm_up(state, batch)
        if not self.fits(state.optimizer, batch) and not self.capture(state, batch):
            return self.eager(state, batch, scale, update)
        self.refill(state.optimizer, batch)
        assert self.graph is not None
        self.graph.replay()
        return self.loss.clone(), self.output.clone()

    def holds(self, optimizer: Optimizer) -> bool:
        """Are state and weights those that the graph was recorded with (before there is one: is it the same state)?"""
        if self.graph is None:
            return self.fused_update.held.state is optimizer.state
        if self.places != places(self.held) or not self.fused_update.held.unchanged(optimizer.state):
            return False
        lists, groups = self.fused_update.lists, optimizer.param_groups
        return len(lists) == len(groups) and all(map(GroupTensors.holds, lists, groups))

    def warm_up(self, state: TrainState, batch: Batch) -> StepResult:
        """Take an ordinary step on a side stream, as CUDA graphs require before a capture."""
        stream = torch.cuda.Stream(state.device)
        stream.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(stream):
            result = self.eager(state, batch)
        torch.cuda.current_stream(state.device).wait_stream(stream)
        return result

    def fits(self, optimizer: Optimizer, batch: Batch) -> bool:
        """Was the graph recorded for these tensors of the state, these settings and these shapes?"""
        if self.graph is None or self.fused_update.lists is not self.lists:
            return False
        return self.settings == settings(optimizer) and self.shapes == batch_shapes(batch)

    def capture(self, state: TrainState, batch: Batch) -> bool:
        """Record the graph. False if the step cannot be recorded, as when a loss reads a value from the device."""
        self.captures += 1
        self.graph = None
        optimizer = state.optimizer
        self.refused = refusal(state.model)
        if self.captures > MOST_CAPTURES:
            self.refused = "the optimizer's settings change again and again"
        if self.refused:
            return False
        side_effects = SideEffects(state.model, state.loss)
        use_device_counts(optimizer)
        self.inputs = tuple(x.clone() for x in batch.inputs)
        self.target = batch.target.clone()
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.rate_tensors = [torch.tensor(rate, device=state.device) for rate in self.rates]
        try:
            self.graph = self.new_graph(state)
            self.refused = side_effects.change()
        except RuntimeError as error:
            self.refused = first_line(error) or type(error).__name__
        finally:
            for p in state.model.parameters():
                p.grad = None  # the graph keeps its own
        if self.refused:
            side_effects.restore()
            self.graph = None
            return False
        self.settings, self.shapes = settings(optimizer), batch_shapes(batch)
        self.held = [*state.model.parameters(), *state.model.buffers()]
        self.places = places(self.held)
        self.lists = self.fused_update.lists
        return True

    def new_graph(self, state: TrainState) -> torch.cuda.CUDAGraph:
        """Capture `record` as a graph, which leaves loss and output in its own memory."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(state.device)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # workers may load meanwhile
            self.loss, self.output = self.record(state)
        return graph

    def record(self, state: TrainState) -> StepResult:
        """The operations that are recorded: the plain step over the buffers, with the rates as tensors."""
        loss, output = self.eager(state, Batch(self.inputs, self.target), update=False)
        clip(state.optimizer, self.eager.clip_norm)
        gradients = self.fused_update.gradients()  # by lists that an eager step made: nothing is made in here
        if gradients is None:
            raise RuntimeError("not every step updates the same weights")
        with torch.no_grad():
            for lists, grads, rate in zip(self.fused_update.lists, gradients, self.rate_tensors, strict=True):
                lists.update(grads, lr=rate)
        return loss, output

    def refill(self, optimizer: Optimizer, batch: Batch) -> None:
        """Copy this batch and the present rates into the buffers, without waiting for the device."""
        for buffer, x in zip(self.inputs, batch.inputs, strict=True):
            buffer.copy_(x, non_blocking=True)
        self.target.copy_(batch.target, non_blocking=True)
        for i, group in enumerate(optimizer.param_groups):
            if group["lr"] != self.rates[i]:
                self.rates[i] = group["lr"]
                self.rate_tensors[i].fill_(group["lr"])


def settings(optimizer: Optimizer) -> list[Group]:
    """The optimizer's settings that are part of the graph: all but the rate and the parameters."""
    return [
        {key: value for key, value in group.items() if key not in ("lr", "initial_lr", "params")}
        for group in optimizer.param_groups
    ]


def batch_shapes(batch: Batch) -> list[torch.Size]:
    """The shapes of a batch."""
    return [tensor.shape for tensor in (*batch.inputs, batch.target)]


def places(tensors: list[Tensor]) -> list[tuple[int, bool]]:
    """Where the tensors lie in memory, and whether they are trained."""
    return [(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors]


def use_device_counts(optimizer: Optimizer) -> None:
    """Set torch's `fused` in every group, and move the counts of steps to where the weights are."""
    for group in optimizer.param_groups:
        group["fused"] = True
        for p in group["params"]:
            count = optimizer.state.get(p, {}).get("step")
            if isinstance(count, Tensor) and count.device != p.device:
                optimizer.state[p]["step"] = count.to(device=p.device, dtype=torch.float32)

"""What is checked before a run begins. `CHECKS` is the list: a new check is a function and a line in it.

Every problem that the checks find is told at once, before anything is written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec

import torch
from torch import Tensor

from dlrun.assembly.assemble import Assembly, a_type, device_of, forward, taking
from dlrun.errors import ConfigError, Problem, first_line
from dlrun.generators import forked
from dlrun.run.planning import choose_monitor
from dlrun.spec import Batch, BatchSource

Sources = Mapping[str, BatchSource]  # of `train`, and of the parts that are evaluated each time


def check(assembly: Assembly, batches: Sources) -> None:
    """Raise `ConfigError` with every problem that a run of this would have."""
    problems = [problem for each in CHECKS for problem in each(assembly, batches)]
    if problems:
        raise ConfigError(problems)


def the_logger_is_installed(assembly: Assembly, batches: Sources) -> Iterator[Problem]:
    """An optional package that is missing."""
    if assembly.config.logger.name == "tensorboard" and find_spec("tensorboard") is None:
        yield Problem("logger", "tensorboard is not installed.", "Run `pip install tensorboard`.")


def operations_can_be_watched(assembly: Assembly, batches: Sources) -> Iterator[Problem]:
    """Anomaly detection asks for each operation by itself."""
    if assembly.config.device.compile and assembly.config.trainer.detect_anomaly:
        what = "trainer.detect_anomaly looks at each operation, and a compiled step has none of its own."
        yield Problem("device.compile", what, "Use device.compile=false.")


def the_monitor_is_measured(assembly: Assembly, batches: Sources) -> Iterator[Problem]:
    """A metric to select by that nothing computes, or of which nobody knows which way is better."""
    try:
        choose_monitor(assembly.config, assembly.metric, batches)
    except ConfigError as error:
        yield from error.problems


def the_model_runs(assembly: Assembly, batches: Sources) -> Iterable[Problem]:
    """Model and loss on a few rows, as in evaluation, and then as in training."""
    return evaluation_problems(assembly) or training_problems(assembly, batches["train"])


def evaluation_problems(assembly: Assembly) -> list[Problem]:
    """The example through model and loss, in eval mode. Raises the exceptions of a user's components."""
    batch = assembly.example
    try:
        with taking(assembly.config, batch):
            output = forward(assembly.model, batch)
            if not isinstance(output, Tensor):
                return [no_tensor(assembly, output, "")]
            assembly.loss.check(output, batch.target.to(output.device))
    except ConfigError as error:
        return error.problems
    return []


def training_problems(assembly: Assembly, train: BatchSource) -> list[Problem]:
    """One training step of as few rows as the smallest batch has, on a copy: what shows in training mode alone.

    Whatever else the step raises is left to training, which keeps the run's directory, the traceback and the step.
    """
    one = train.sizes(len(train) - 1) == 1
    batch = assembly.example.first(1 if one else len(assembly.example.target))
    try:
        return problems_of_a_step(assembly, batch)
    except (Exception, SystemExit) as error:
        if one and runs(assembly, twice(batch)):
            last = f"{train.samples:,} samples in batches of {train.batch_size} end with a batch of one"
            what = f"{last}, on which {assembly.config.model.name} cannot be trained: {first_line(error)}."
            return [Problem("trainer.batch_size", what, "Choose one that leaves more.")]
    return []


def problems_of_a_step(assembly: Assembly, batch: Batch) -> list[Problem]:
    """What is wrong with a forward and backward pass in training mode. Raises what these raise."""
    model, loss, frozen = copy.deepcopy((assembly.model, assembly.loss, assembly.frozen))
    model.train()
    for module in frozen:
        module.eval()
    device = device_of(model)
    with forked(0, device):
        output = model(*(x.to(device, copy=True) for x in batch.inputs))
        if not isinstance(output, Tensor):
            return [no_tensor(assembly, output, " in training mode")]
        value = loss(output, batch.target.to(device, copy=True))
        if not isinstance(value, Tensor) or value.shape:
            given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else a_type(value)
            what = f"{assembly.loss_name} gives {given}, not one number."
            return [Problem("loss", what, "Return loss.mean() or loss.sum().")]
        if not value.requires_grad:
            what = f"{assembly.loss_name} gives a number that has no gradient."
            return [Problem("loss", what, "Compute it from the output by operations of torch, without detach().")]
        value.backward()
    return []


def runs(assembly: Assembly, batch: Batch) -> bool:
    """Does a step raise nothing?"""
    try:
        problems_of_a_step(assembly, batch)
    except (Exception, SystemExit):
        return False
    return True


def twice(batch: Batch) -> Batch:
    """Each row of a batch two times."""
    return Batch(tuple(torch.cat([x, x]) for x in batch.inputs), torch.cat([batch.target, batch.target]))


def no_tensor(assembly: Assembly, output: object, when: str) -> Problem:
    """What a model returns must be what the loss takes."""
    what = f"{assembly.config.model.name} returns {a_type(output)}{when}, not a tensor."
    return Problem("model", what, "Return the output that the loss takes.")


CHECKS: list[Callable[[Assembly, Sources], Iterable[Problem]]] = [
    the_logger_is_installed,
    operations_can_be_watched,
    the_monitor_is_measured,
    the_model_runs,
]

"""Checks before a run begins. To add one, write a function and add it to `CHECKS`.

All problems are reported at once, before anything is written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec

import torch
from torch import Tensor

from dlrun.assembly.assemble import Assembly, a_type, device_of, forward, taking
from dlrun.components.registry import TABLES
from dlrun.errors import COMPONENT_RAISES, ConfigError, Problem, first_line
from dlrun.generators import forked
from dlrun.run.planning import choose_monitor
from dlrun.run.predicting import input_rows
from dlrun.spec import Batch, BatchSource

BatchSources = Mapping[str, BatchSource]  # of `train`, and of the parts that are evaluated regularly


def check_run(assembly: Assembly, batches: BatchSources) -> None:
    """Raise `ConfigError` with the problems that all checks find."""
    problems = [problem for each in CHECKS for problem in each(assembly, batches)]
    if problems:
        raise ConfigError(problems)


def packages_are_installed(assembly: Assembly, batches: BatchSources) -> Iterator[Problem]:
    """The packages that the components need are installed."""
    for kind, table in TABLES.items():
        needed = table.known(assembly.config.get(f"{kind}.name")).needs
        if needed and find_spec(needed) is None:
            yield Problem(kind, f"{needed} is not installed.", f"Run `pip install 'dlrun[{needed}]'`.")


def operations_can_be_watched(assembly: Assembly, batches: BatchSources) -> Iterator[Problem]:
    """Anomaly detection needs single operations, which a compiled step does not have."""
    if assembly.config.device.compile and assembly.config.trainer.detect_anomaly:
        what = "trainer.detect_anomaly looks at each operation, and a compiled step has none of its own."
        yield Problem("device.compile", what, "Use device.compile=false.")


def the_monitor_is_measured(assembly: Assembly, batches: BatchSources) -> Iterator[Problem]:
    """The monitored metric is computed, and it is known whether less or more of it is better."""
    try:
        choose_monitor(assembly.config, assembly.metric, batches)
    except ConfigError as error:
        yield from error.problems


def the_model_runs(assembly: Assembly, batches: BatchSources) -> Iterable[Problem]:
    """Model and loss accept a few rows, in evaluation and in training."""
    return evaluation_problems(assembly) or training_problems(assembly, batches["train"])


def evaluation_problems(assembly: Assembly) -> list[Problem]:
    """Call model and loss on the example in eval mode. Exceptions of a user's components are raised."""
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
    """Try a training step on a copy of the model, with one row if the last batch has only one.

    Exceptions that have another cause than the batch of one are ignored: training will raise them again, and keeps the
    run directory, the traceback and the step.
    """
    one = train.sizes(len(train) - 1) == 1
    batch = assembly.example.first(1 if one else len(assembly.example.target))
    try:
        return problems_of_a_step(assembly, batch)
    except COMPONENT_RAISES as error:
        twice = Batch(tuple(torch.cat([x, x]) for x in batch.inputs), torch.cat([batch.target, batch.target]))
        if one and runs(assembly, twice):
            last = f"{train.samples:,} samples in batches of {train.batch_size} end with a batch of one"
            what = f"{last}, on which {assembly.config.model.name} cannot be trained: {first_line(error)}."
            return [Problem("trainer.batch_size", what, "Choose one that leaves more.")]
    return []


def problems_of_a_step(assembly: Assembly, batch: Batch) -> list[Problem]:
    """The problems of a forward and backward pass in training mode, whose exceptions are raised."""
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
    """Whether a training step on this batch raises no exception."""
    try:
        problems_of_a_step(assembly, batch)
    except COMPONENT_RAISES:
        return False
    return True


def no_tensor(assembly: Assembly, output: object, when: str) -> Problem:
    """The problem of a model that does not return a tensor."""
    what = f"{assembly.config.model.name} returns {a_type(output)}{when}, not a tensor."
    return Problem("model", what, "Return the output that the loss takes.")


def the_inputs_can_be_predicted(assembly: Assembly, batches: BatchSources) -> Iterator[Problem]:
    """What `trainer.predict_on_best` names can be given to the model."""
    try:
        input_rows(assembly.data.spec, assembly.config.trainer.predict_on_best)
    except ConfigError as error:
        yield from error.problems


CHECKS: list[Callable[[Assembly, BatchSources], Iterable[Problem]]] = [
    packages_are_installed,
    operations_can_be_watched,
    the_monitor_is_measured,
    the_inputs_can_be_predicted,
    the_model_runs,
]

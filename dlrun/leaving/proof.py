"""Is a written file the run that it was written from? Its rows and first weights, and then its first steps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from dlrun.data.batches import ResidentBatches
from dlrun.data.seeds import derive, permutation
from dlrun.engine.device import seed_everything
from dlrun.engine.loop import Progress, fit
from dlrun.errors import CheckFailed, ConfigError, Problem, RunError, in_words
from dlrun.generators import forked
from dlrun.leaving.covered import evaluated
from dlrun.package import PACKAGE
from dlrun.run.context import Components

STEPS = 50  # that are compared
RUNNER = PACKAGE / "leaving" / "first_steps.py"
HINT = "It cannot be written out yet."


def expect_same_start(file: Path, components: Components) -> None:
    """Raise `ConfigError` where the file reads other rows than the run, or draws other first weights."""
    try:
        with forked(0):
            module = import_file(file)
            rows = module.load_data()
            torch.manual_seed(module.derive("weights"))
            model = module.make_model()
    except Exception as error:  # whatever the user's files make Pillow, csv or torchvision raise
        what = f"the plain file cannot read the data of this run or build its model ({in_words(error)})."
        raise ConfigError(Problem("dataset", what, HINT)) from error
    problems = [
        Problem(f"dataset {part}", "the plain file reads other rows than the run.", HINT)
        for part in components.data.parts()
        if part not in rows or not same_rows(rows[part], part, components)
    ]
    mine, own = model.state_dict(), components.state.model.state_dict()
    if str(model) != str(components.state.model) or not all(equal_tensors(mine[key], own[key]) for key in own):
        problems.append(Problem("model", "the plain file builds another model than the run.", HINT))
    if problems:
        raise ConfigError(problems)


def import_file(file: Path) -> ModuleType:
    """The file as a module, which is not put among the imported ones and leaves no byte code."""
    module = ModuleType("ejected")
    module.__file__ = str(file)
    exec(compile(file.read_text(encoding="utf-8"), file, "exec"), module.__dict__)
    return module


def same_rows(columns: tuple[Tensor, ...], part: str, components: Components) -> bool:
    """Whether all rows of a part, prepared, are those of the run, bit for bit."""
    source = components.batches.get(part) or components.test
    assert isinstance(source, ResidentBatches), "others are refused"
    if len(columns[-1]) != source.rows:
        return False
    order = torch.arange(source.rows)
    if source.shuffle and source.batch_size < source.rows:
        order = permutation(source.seed, 0, source.rows)
    for rows, batch in zip(order.split(source.batch_size), source.epoch(0), strict=True):
        for column, wanted in zip(columns, (*batch.inputs, batch.target), strict=True):
            mine = column[rows]
            if source.text and wanted.ndim == 2:  # without columns that are padding in every row
                mine = mine[:, : wanted.shape[1]]
            if not equal_tensors(mine, wanted):
                return False
    return True


def equal_tensors(mine: Tensor, own: Tensor) -> bool:
    """Equal in type, shape and values."""
    return mine.dtype == own.dtype and torch.equal(mine, own)


def compare_steps(file: Path, components: Components) -> tuple[int, int]:
    """The number of steps and evaluations of the file that equal dlrun's to the bit.

    Raises `CheckFailed` with the first one that differs, and `RunError` where the file fails.
    """
    steps = min(STEPS, components.plan.max_steps or STEPS)
    own, mine = steps_of_run(components, steps), steps_of_file(file, steps)
    for what, ours, theirs in zip(("step", "evaluation"), own, mine, strict=True):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=False), start=1):
            if repr(a) != repr(b):
                raise CheckFailed(f"{what} {number} differs: its loss is {b!r} in the plain file and {a!r} in dlrun.")
        if len(ours) != len(theirs):
            raise CheckFailed(f"the plain file makes {len(theirs)} {what}s where dlrun makes {len(ours)}.")
    return len(own[0]), len(own[1])


def steps_of_run(components: Components, steps: int) -> tuple[list[float], list[float]]:
    """The losses of dlrun's first steps, and of the evaluations that belong to them."""
    seed_everything(derive(components.config.seed, "noise"))
    plan = replace(components.plan, max_steps=steps, log_every=1)
    part = evaluated(list(components.data.parts()))
    return split_events(fit(components.state, components.batches, plan), f"{part}_loss")


def split_events(events: Iterator[object], name: str) -> tuple[list[float], list[float]]:
    """The losses of steps, and those of evaluations."""
    losses: list[float] = []
    measured: list[float] = []
    for event in events:
        if isinstance(event, Progress):
            losses += [row.loss for row in event.rows]
        else:
            row = getattr(event, "row", {})
            measured += [row[name]] if name in row else []
    return losses, measured


def steps_of_file(file: Path, steps: int) -> tuple[list[float], list[float]]:
    """The same of the file, run in a process of its own that imports nothing from the working folder."""
    command = [sys.executable, "-P", str(RUNNER), str(file), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"the plain file fails:\n{done.stderr.strip()[-2000:]}")
    losses, measured = json.loads(done.stdout.splitlines()[-1])
    return losses, measured

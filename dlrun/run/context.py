"""`RunContext`: what the parts of a run share, such as its directory, its components, the screen and the signals.

The parts (recorder, saver, doctor, opening, closing, failure, capsule) take a `RunContext`. This module imports none of
them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from dlrun.config.config import Config
from dlrun.data.base import Data
from dlrun.engine.state import Plan, TrainState
from dlrun.plain import Values
from dlrun.run.screen import Screen
from dlrun.run.signals import Signals
from dlrun.spec import BatchSource
from dlrun.store.rundir import RunDir


@dataclass
class Components:
    """Everything that is built from a configuration, ready for the first step."""

    config: Config
    data: Data
    state: TrainState
    plan: Plan
    batches: dict[str, BatchSource]  # train, and the parts that are evaluated each time
    test: BatchSource | None = None  # the test part, where it is evaluated once, at the end
    engine: list[str] = field(default_factory=list)  # words for the header
    auto: Values = field(default_factory=dict)  # the values chosen for `auto`
    notes: list[str] = field(default_factory=list)

    def rows_used(self) -> dict[str, int]:
        """The number of rows of each part that an epoch or an evaluation uses, which `trainer.max_batches` limits."""
        sources = self.batches if self.test is None else {**self.batches, "test": self.test}
        return {name: sources[name].samples if name in sources else 0 for name in self.data.parts()}

    def close(self) -> None:
        """Stop DataLoader workers."""
        for source in [*self.batches.values(), self.test]:
            if source is not None:
                source.close()


@dataclass
class RunContext:
    """A run that is in progress."""

    run: RunDir
    components: Components
    screen: Screen = field(default_factory=lambda: Screen(silent=True, terminal=False))
    signals: Signals = field(default_factory=Signals)
    overrides: Sequence[str] = ()  # of the configuration
    argv: Sequence[str] = ()  # the whole command
    resumed: bool = False  # whether the run starts from its own checkpoint
    stage: Literal["beginning", "training", "closing"] = "beginning"
    pruned: bool = False  # whether `on_epoch` has ended the run
    seconds_before: float = 0.0  # wall time of earlier sessions of this run
    started: float = field(default_factory=time.monotonic)
    plan: Plan = field(init=False)  # the plan of the components, which stops at a signal

    def __post_init__(self) -> None:
        self.plan = self.components.plan.with_stop(self.signals.stop)

    @property
    def config(self) -> Config:
        return self.components.config

    @property
    def state(self) -> TrainState:
        return self.components.state

    @property
    def batches(self) -> dict[str, BatchSource]:
        """The batches of `train` and of the parts that are evaluated regularly."""
        return self.components.batches

    @property
    def name(self) -> str:
        """The name of the run: `run.name`, or that of its directory."""
        return str(self.config.run.name or self.run.path.resolve().name)

    def seconds(self) -> float:
        """The wall time of the run so far, earlier sessions included."""
        return self.seconds_before + time.monotonic() - self.started

    def batches_to_do(self) -> int:
        """The number of training batches of the whole run."""
        batches, plan = len(self.batches["train"]), self.plan
        total = batches * plan.epochs
        if plan.max_steps is None:
            return total
        epochs, rest = divmod(plan.max_steps, math.ceil(batches / plan.accumulate))
        return min(total, epochs * batches + rest * plan.accumulate)

    def batches_done(self) -> int:
        """The number of training batches done so far."""
        return self.state.epoch * len(self.batches["train"]) + self.state.cursor

    def close(self) -> None:
        """Close the log, stop DataLoader workers, and release the directory."""
        self.screen.close()
        self.components.close()
        self.run.unlock()


LoadInitial = Callable[[RunContext, nn.Module], str]  # loads the weights of `init_from`; returns a header line

"""`Outcome`: the result of a run for the caller of `train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dlrun.config.config import Config
from dlrun.plain import Values
from dlrun.run.screen import Screen
from dlrun.run.signals import Interrupted
from dlrun.store.failure import Failure
from dlrun.store.rundir import RunDir

if TYPE_CHECKING:
    from dlrun.engine.state import TrainState


@dataclass
class Outcome:
    """The result of a run."""

    run: RunDir | None
    failure: Failure | None = None  # set if the run failed or was stopped by a signal
    summary: Values = field(default_factory=dict)
    state: TrainState | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of the command (see docs/architecture.md)."""
        return 0 if self.failure is None else self.failure.exit_code


class Train(Protocol):
    """The type of `runner.train`, which is passed to code that may have to train another run first."""

    def __call__(self, config: Config, *, argv: Sequence[str] = (), screen: Screen | None = None) -> Outcome: ...


def before_it_began(interrupted: Interrupted, screen: Screen, run: RunDir | None = None) -> Outcome:
    """The outcome after a signal that arrived while the components were built, before there was anything to save."""
    screen.line(f"Stopped by {interrupted} before training began.", style="yellow", always=True)
    words = f"stopped by {interrupted} before training began"
    return Outcome(run, Failure("signal", words, exit_code=interrupted.exit_code))

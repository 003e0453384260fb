"""What became of a run, and how a run is trained, as seen by whoever only waits for its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlrun.run.screen import Screen
from dlrun.run.signals import Interrupted
from dlrun.store.rundir import RunDir

if TYPE_CHECKING:
    from dlrun.engine.state import TrainState


@dataclass
class Outcome:
    """What became of a run."""

    run: RunDir | None
    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)
    state: TrainState | None = None


Train = Callable[..., Outcome]  # `runner.train`, handed to what may have to train another run first


def before_it_began(interrupted: Interrupted, screen: Screen, run: RunDir | None = None) -> Outcome:
    """The outcome after a signal that came while the components were made: there is nothing to save."""
    screen.line(f"Stopped by {interrupted} before training began.", style="yellow", always=True)
    return Outcome(run, interrupted.exit_code)

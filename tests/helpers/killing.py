"""Training in processes of their own, killed at random moments and resumed until they are finished."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from dlrun.checks import worker
from dlrun.checks.verify import differing, may_differ, metrics_text
from dlrun.store import checkpoint
from dlrun.store.rundir import RunDir
from dlrun.workers.client import Child
from tests.helpers.deadline import deadline
from tests.helpers.warm import DRAWING, server


def begin(config: Path, run: RunDir) -> Child:
    """A process that trains: begins the run, or goes on with it."""
    return worker.start(server(), config, run)


def finish(config: Path, run: RunDir) -> float:
    """Train (or go on) to the end. Returns the seconds that it took."""
    server()  # else the first life would seem to last as long as the start of the server
    started = time.monotonic()
    process = begin(config, run)
    server().join(process, deadline(120))
    assert process.code == 0, worker.log_file(run.path).read_text()
    return time.monotonic() - started


def train_killed(config: Path, run: RunDir, kills: int, dice: random.Random, seconds: float) -> int:
    """Kill the run so many times at random moments of its life, then let it finish. Returns the kills that hit.

    `seconds` is how long a life is that is not cut short: starting, training and, where they are drawn, the figures
    at the end, of which the last kills should find some.
    """
    hits, latest = 0, 1.0 if Path(DRAWING).exists() else 0.7
    for _ in range(kills):
        process = begin(config, run)
        if not server().join(process, dice.uniform(0.02, latest * seconds)):
            process.send(signal.SIGKILL)
            hits += 1
        assert server().join(process, deadline(60)), "a run did not end when it was killed"
    finish(config, run)
    return hits


def assert_equal_runs(one: RunDir, other: RunDir) -> None:
    """The same checkpoints bit for bit, and the same metrics but for the times."""
    for path in (one.last, one.best):
        a, b = checkpoint.read_checkpoint(path), checkpoint.read_checkpoint(other.checkpoints / path.name)
        assert [line for line in differing(a, b) if not may_differ(line)] == []
    assert metrics_text(one) == metrics_text(other)


def assert_readable(run: RunDir) -> None:
    """Nothing half-written: every JSON parses, no temporary file is left."""
    import json

    for name in ("status.json", "environment.json", "summary.json"):
        json.loads(run.file(name).read_text())
    assert not [p.name for p in run.checkpoints.iterdir() if p.name not in ("last.pt", "last-1.pt", "best.pt")]

"""Training in processes of their own, killed at random moments and resumed until they are finished."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path
from typing import Any

import torch

from dlrun.after.verify import about_time, differing, metrics_text
from dlrun.config.schema import Config
from dlrun.run import checkpoint
from dlrun.run.rundir import RunDir

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["dlrun.run.build", "dlrun.run.closing", "dlrun.after.verify", "dlrun.report.curves"]
PRELOADED += [
    "dlrun.report.confusion",
    "dlrun.report.mistakes",
    "matplotlib.backends.backend_agg",
    "sklearn.datasets",
]
CONTEXT.set_forkserver_preload(PRELOADED)


def work(yaml: str, path: str, code: Any) -> None:
    """In the child: begin the run or go on with it."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method(
        "fork", force=True
    )  # as in a run of the command, for the workers of DataLoader
    from dlrun.run.runner import run_frozen
    from dlrun.run.screen import Screen

    code.value = run_frozen(
        Config.from_yaml(yaml), RunDir(path), screen=Screen(silent=True, terminal=False)
    ).exit_code


def begin(config: Path, run: RunDir) -> tuple[Any, Any]:
    """A child that trains; its exit code arrives in the second value."""
    code = CONTEXT.Value("i", -1)
    child = CONTEXT.Process(target=work, args=(str(config), str(run.path), code))
    child.start()
    return child, code


def finish(config: Path, run: RunDir) -> None:
    """Train (or go on) to the end."""
    child, code = begin(config, run)
    child.join(120)
    assert code.value == 0, (
        (run.path / "train.log").read_text() if (run.path / "train.log").exists() else "no log"
    )


def train_killed(
    config: Path, run: RunDir, kills: int, dice: random.Random, seconds: float, number: int
) -> int:
    """Kill the run so many times at random moments of its life, then let it finish. Returns the kills that hit."""
    hits = 0
    for _ in range(kills):
        child, _ = begin(config, run)
        child.join(dice.uniform(0.05, 1.2 * seconds / kills))  # lives get shorter, so that most kills hit
        if child.is_alive():
            import os

            os.kill(child.pid, number)
            hits += 1
        child.join(60)
        assert not child.is_alive(), "a run did not end within a minute of its signal"
    finish(config, run)
    return hits


def assert_equal_runs(one: RunDir, other: RunDir) -> None:
    """The same checkpoints bit for bit, and the same metrics but for the times."""
    for path in (one.last, one.best):
        a, b = checkpoint.read(path), checkpoint.read(other.checkpoints / path.name)
        assert [line for line in differing(a, b) if not about_time(line)] == []
    assert metrics_text(one) == metrics_text(other)


def assert_readable(run: RunDir) -> None:
    """Nothing half-written: every JSON parses, no temporary file is left."""
    import json

    for name in ("status.json", "environment.json", "summary.json"):
        json.loads(run.file(name).read_text())
    assert not [
        p.name for p in run.checkpoints.iterdir() if p.name not in ("last.pt", "last-1.pt", "best.pt")
    ]


__all__ = ["assert_equal_runs", "assert_readable", "begin", "finish", "signal", "train_killed"]

"""Runs of a moment in this process, and a signal to it: for tests of what goes wrong."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlrun
from dlrun import cli
from dlrun.run import runner
from dlrun.run.screen import Screen
from dlrun.store.reading import read_json

QUICK = ["device=cpu", "trainer.epochs=2", "trainer.max_batches=4", "trainer.batch_size=16"]


def status() -> dict[str, Any]:
    return read_json(Path("a/status.json"))


def run(*words: str) -> int:
    """The command line; the exit code."""
    return cli.main([*QUICK, "run.dir=a", *words])


def begin(*words: str, on_epoch: Callable[[dict[str, float]], bool] | None = None) -> runner.Outcome:
    """A run that is looked at after every epoch, and goes on if it is there."""
    config = dlrun.compose([*QUICK, "run.dir=a", "resume=auto", "checkpoint.every_epochs=1", *words])
    return runner.train(config, screen=Screen(silent=True, terminal=False), on_epoch=on_epoch)


def interrupt(number: int = signal.SIGTERM) -> Callable[[dict[str, float]], bool]:
    """An `on_epoch` that sends this process a signal."""

    def on_epoch(row: dict[str, float]) -> bool:
        os.kill(os.getpid(), number)
        return False

    return on_epoch


def no_space(*_: Any, **__: Any) -> Any:
    """In place of any function that writes: the disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")

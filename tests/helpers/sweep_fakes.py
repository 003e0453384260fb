"""A sweep without processes: an executor that writes run directories by hand, as fast as it is asked to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dlrun.config.expand import expand
from dlrun.report import html, panels
from dlrun.store.failure import Failure
from dlrun.store.files import write_json
from dlrun.sweep import command
from dlrun.sweep.executors.base import Ended
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.state import Record, read_record, state_of_job
from dlrun.sweep.task import Task
from tests.helpers.runs_by_hand import make_run

Loss = Callable[[dict[str, Any]], float]


class FakeExecutor:
    """Every job ends at once: finished with the loss that `loss` gives, or as that says by raising.

    With `reporting` it asks about its first epoch before.
    """

    def __init__(self, loss: Loss, slots: int = 2, *, reporting: bool = False) -> None:
        self.loss, self.slots, self.reporting = loss, slots, reporting
        self.late: list[Ended] = []
        self.tasks: list[Task] = []
        self.ended: list[Ended] = []
        self.signals: list[int] = []
        self.closed = False

    def start(self, task: Task) -> str:
        self.tasks.append(task)
        stem = Path(f"{task.stem}.log")
        if self.reporting:
            write_json(Path(f"{task.stem}.epoch.json"), {"epoch": 1, "val_loss": 0.5})
        try:
            floor = self.loss(task.config)
        except MemoryError:
            stem.write_text("its last words\n")
            self.ended.append(Ended(task.slug, -9))
            return ""
        except (ValueError, InterruptedError) as error:
            failed = isinstance(error, ValueError)
            if not failed:
                make_run(Path(task.path), task.config, epochs=1, state="interrupted", error=str(error), kind="signal")
            failure = Failure("component" if failed else "signal", str(error), exit_code=4 if failed else 143)
            write_json(Path(f"{task.stem}.result.json"), failure.to_values())
            self.ended.append(Ended(task.slug, failure.exit_code))
            return ""
        if not os.path.isdir(task.path):
            path = make_run(Path(task.path), task.config, epochs=3, floor=floor, overrides=task.overrides)
            facts = {"auto": {"checkpoint.monitor": "val_loss", "checkpoint.mode": "min", "device.threads": 2}}
            (path / "environment.json").write_text(json.dumps(facts))
        write_json(Path(f"{task.stem}.result.json"), {"exit_code": 0})
        self.ended.append(Ended(task.slug, 0, memory_mib=100.0))
        return ""

    def adopt(self, slug: str, handle: str) -> bool:
        return False

    def wait(self, seconds: float) -> list[Ended]:
        ended, self.ended = [*self.late, *self.ended], []
        if self.reporting:
            ended, self.late = self.late, ended[len(self.late) :]
        return ended

    def stop(self, number: int) -> None:
        self.signals.append(number)

    def kill(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class FakeSweep:
    """`sweep([...words])` runs the words as a sweep with a fake executor; `sweep.folder` looks at the result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, draw: bool = False) -> None:
        self.loss: Loss = lambda config: 0.1
        self.executors: list[FakeExecutor] = []
        self.reporting = False
        monkeypatch.setattr(command, "make_executor", self.make)
        if not draw:  # figures take most of the time of a sweep that does nothing
            monkeypatch.setattr(panels, "draw_comparison", lambda *_: None)
            monkeypatch.setattr(html, "write_report", lambda *_: None)

    def make(self, settings: Any, configs: Any, state: Path) -> FakeExecutor:
        self.executors.append(FakeExecutor(self.loss, reporting=self.reporting))
        return self.executors[-1]

    def __call__(self, words: Sequence[str], *, quiet: bool = True, flags: Sequence[str] = ()) -> int:
        expansion = expand(list(words), plugin_files=[word for word in flags if not word.startswith("--")])
        return command.sweep_command(
            expansion, overrides=list(words), argv=["-m", *words, *flags], quiet=quiet, flags=flags
        )

    @property
    def ran(self) -> list[str]:
        """The slugs that the last command ran, in order."""
        return [task.slug for task in self.executors[-1].tasks]

    @property
    def folder(self) -> SweepDir:
        """The only sweep there is."""
        (path,) = Path("outputs/sweeps").iterdir()
        return read_sweep(path)


def read_sweep(path: Path) -> SweepDir:
    sweep = SweepDir(path)
    sweep.read()
    return sweep


def states(sweep: SweepDir) -> dict[str, Record]:
    """The state of every job of a folder."""
    return {job.slug: state_of_job(sweep, job, read_record(sweep, job.slug)) for job in sweep.jobs.values()}

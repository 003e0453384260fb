"""Thirty kinds of damaged file by every command that reads a run: an error or a row of its own, never a traceback, and
in bounded time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dlrun
from dlrun.run import runner
from tests.helpers.damage import KINDS, damage, sampled, survives, watch
from tests.helpers.quick_runs import QUICK, interrupt

__all__ = ["watch"]  # a fixture
RUN_FILES = [
    "config.yaml", "status.json", "environment.json", "summary.json", "metrics.csv", "steps.csv", "overrides.txt",
    "train.log", ".lock", "checkpoints/last.pt", "checkpoints/best.pt", "crash.pt",
]  # fmt: skip
RUN_COMMANDS = [
    ["runs", "--root", "."], ["runs", "--root", ".", "--sort", "metric"], ["compare", "a", "b"], ["report", "a"],
    ["replay", "a"], ["resume", "a"], ["resume", "a", "trainer.epochs=3"], [*QUICK, "run.dir=a"],
    [*QUICK, "run.dir=a", "resume=auto"], [*QUICK, "run.dir=c", "init_from=a"],
    [*QUICK, "run.dir=a", "run.overwrite=true"],
]  # fmt: skip
CASES = [(name, kind) for name in RUN_FILES for kind in KINDS]

pytestmark = pytest.mark.usefixtures("quick", "watch")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted run that has every file, and a finished one."""
    folder = tmp_path_factory.mktemp("runs")
    options = ["checkpoint.every_epochs=1", "checkpoint.keep=2"]
    assert runner.train(dlrun.compose([*QUICK, f"run.dir={folder}/b"])).exit_code == 0
    assert runner.train(dlrun.compose([*QUICK, f"run.dir={folder}/a", *options]), on_epoch=interrupt()).exit_code == 143
    shutil.copy(folder / "b/summary.json", folder / "a/summary.json")
    shutil.copy(folder / "a/checkpoints/best.pt", folder / "a/crash.pt")
    return folder


@pytest.mark.parametrize(("name", "kind", "part"), sampled(CASES, 35))
def test_a_damaged_file_of_a_run(
    name: str, kind: str, part: slice, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in RUN_COMMANDS[part]:
        for run in ("a", "b", "c"):
            shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(runs / "a", "a")
        shutil.copytree(runs / "b", "b")
        damage(Path("a", name), kind)
        assert survives(words, capsys) != 3

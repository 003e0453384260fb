"""Damaged files of a sweep's folder by every command that reads it: an error, or one job less; never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlrun.report import panels
from dlrun.sweep import plan
from tests.helpers.damage import KINDS, damage, sampled, survives, watch
from tests.helpers.sweep_fakes import FakeSweep

__all__ = ["watch"]  # a fixture
BASE = ["device=cpu", "trainer=smoke"]
GRID = [*BASE, "seed=0,1,2", "sweep.dir=s"]
SEARCH = [*BASE, "optimizer.lr=interval(0.001,0.1)", "sweep.search=tpe", "sweep.trials=3", "sweep.dir=s"]
SEARCH = [*SEARCH, "sweep.pruner=median"]
SWEEP_FILES = [".lock", "sweep.yaml", "status.csv", "results.csv", "comparison.png", "report.html"]
JOB_FILES = [".json", ".result.json", ".epoch.json", ".answer.json", ".log"]  # in .state, after the job's name
RUN_FILES = ["status.json", "config.yaml", "metrics.csv", "summary.json", "environment.json", "overrides.txt"]
COMMANDS = [
    ["sweep", "status", "s"], ["sweep", "retry", "s"], ["sweep", "stop", "s"], ["compare", "s"], ["report", "s"],
    ["runs", "--root", "."], ["-m", "AGAIN"], ["-m", "AGAIN", "sweep.dry_run=true"],
    ["-m", "AGAIN", "sweep.retry_failed=true"], ["-m", "AGAIN", "sweep.refresh=true"],
]  # fmt: skip
CASES = [
    *(("grid", name, kind) for name in SWEEP_FILES for kind in KINDS),
    *(("grid", f".state/seed1{name}", kind) for name in JOB_FILES for kind in KINDS),
    *(("grid", f"jobs/seed2/{name}", kind) for name in RUN_FILES for kind in KINDS),
    *(("search", name, kind) for name in (".state/optuna.db", "sweep.yaml") for kind in KINDS),
]

pytestmark = pytest.mark.usefixtures("quick", "quick_studies", "watch")


def loss(config: dict[str, Any]) -> float:
    """One job fails, one is interrupted where it is not there yet."""
    if config["seed"] == 1:
        raise ValueError("by the model")
    if config["seed"] == 2 and not Path("s/jobs/seed2").exists():
        raise InterruptedError("by a signal")
    return 0.1


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep by grid, with a failed job and a half one, and one by search."""
    folder = tmp_path_factory.mktemp("sweeps")
    for name, words in (("grid", GRID), ("search", SEARCH)):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            sweep = FakeSweep(patch)
            sweep.loss, sweep.reporting = loss, True
            sweep(words)
        shutil.move(folder / "s", folder / name)
        (folder / name / ".state/seed1.log").write_text("its last words\n")
        (folder / name / ".state/seed1.answer.json").write_text('{"epoch": 1, "prune": false}')
    return folder


@pytest.mark.parametrize(("search", "name", "kind", "part"), sampled(CASES, 47))
def test_a_damaged_file_of_a_sweep(
    search: str,
    name: str,
    kind: str,
    part: slice,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(plan, "try_jobs", lambda jobs, *_: [plan.DryRunResult(job, seconds=2.0) for job in jobs])
    monkeypatch.setattr(panels, "draw_comparison", lambda *_: None)
    sweep = FakeSweep(monkeypatch, draw=True)
    sweep.loss = loss
    again = GRID if search == "grid" else SEARCH
    for words in COMMANDS[part]:
        shutil.rmtree("s", ignore_errors=True)
        shutil.copytree(folders / search, "s")
        damage(Path("s", name), kind)
        survives([part for word in words for part in (again if word == "AGAIN" else [word])], capsys)

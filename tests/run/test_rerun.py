"""`dlrun rerun`: a run's configuration again, elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dlrun
from dlrun import cli
from dlrun.config.config import Config
from tests.helpers.quick_runs import QUICK


def figures(run: str) -> object:
    return json.loads(Path(run, "summary.json").read_text())["last"]["train_loss"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["a", "a/config.yaml"])
def test_a_run_is_trained_again_in_a_directory_of_its_own(what: str) -> None:
    assert cli.main([*QUICK, "run.dir=a", "trainer.epochs=2", "--quiet"]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("a").rglob("*") if path.is_file()}
    assert cli.main(["rerun", what, "run.dir=b", "--quiet"]) == 0
    assert figures("b") == figures("a")
    assert cli.main(["rerun", what, "run.dir=c", "seed=5", "--quiet"]) == 0
    assert figures("c") != figures("a")
    assert Path("c/overrides.txt").read_text().splitlines()[-1] == "seed=5"
    assert {path: path.stat().st_mtime_ns for path in Path("a").rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("quick")
def test_the_library_never_writes_into_the_folder_that_a_configuration_came_from() -> None:
    first = dlrun.train([*QUICK, "run.dir=a", "trainer.epochs=1", "run.overwrite=true"])
    again = dlrun.train(Config.from_yaml("a/config.yaml"))
    assert again.path.resolve() != first.path.resolve()
    assert figures(str(again.path)) == figures("a")


@pytest.mark.usefixtures("quick")
def test_the_library_prints_in_a_notebook_and_where_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dlrun.train([*QUICK, "run.dir=a"])
    assert capsys.readouterr().out == ""
    dlrun.train([*QUICK, "run.dir=b"], quiet=False)
    assert "epoch 2/2" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    dlrun.train([*QUICK, "run.dir=c"])
    assert "epoch 2/2" in capsys.readouterr().out

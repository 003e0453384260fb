"""A resume never makes less of what is there: a run without a checkpoint begins again only if it never had one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.store.files import write_json
from tests.helpers.folders import contents
from tests.helpers.quick_runs import QUICK, run, status

pytestmark = pytest.mark.usefixtures("quick")


def kill_before_the_first_checkpoint() -> None:
    """Make of the finished run `a` what a kill before its first checkpoint would have left."""
    shutil.rmtree("a/checkpoints")
    Path("a/summary.json").unlink()
    fields = ("made_by", "state", "name", "pid", "host", "started")
    values = {name: value for name, value in status().items() if name in fields} | {"state": "running"}
    write_json(Path("a/status.json"), values)


def test_where_the_first_weights_are_gone_the_run_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    dlrun.train([*QUICK, "run.dir=first"])
    assert run("init_from=first/checkpoints/best.pt") == 0
    kill_before_the_first_checkpoint()
    shutil.move("first", "elsewhere")
    before = contents("a")
    assert cli.main(["resume", "a"]) == 2
    assert "first" in capsys.readouterr().err
    assert contents("a") == before
    shutil.move("elsewhere", "first")
    assert cli.main(["resume", "a"]) == 0
    assert status()["state"] == "finished"


@pytest.mark.parametrize("words", [["trainer.epochs=4"], [], ["--force", "optimizer.lr=0.1"]])
@pytest.mark.parametrize("state", ["finished", "interrupted", "failed", "pruned"])
def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(
    state: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    write_json(Path("a/status.json"), status() | {"state": state})
    for path in Path("a/checkpoints").glob("last*"):
        path.unlink()
    before = contents("a")
    done = state in ("finished", "pruned") and words != ["trainer.epochs=4"]
    assert cli.main(["resume", "a", *words]) == (0 if done else 2)
    assert done or "checkpoints/last.pt is gone (it reached step 8)" in capsys.readouterr().err
    assert contents("a") == before


def test_a_run_of_which_little_is_known_does_not_begin_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    shutil.rmtree("a/checkpoints")
    Path("a/summary.json").unlink()
    Path("a/status.json").write_text("{")
    before = contents("a")
    assert cli.main(["resume", "a"]) == 2
    assert "Beginning again would replace" in capsys.readouterr().err
    assert contents("a") == before


def test_a_run_that_begins_again_has_every_row_once() -> None:
    assert run("logger=jsonl") == 0
    rows = Path("a/steps.csv").read_text().splitlines()
    kill_before_the_first_checkpoint()
    assert cli.main(["resume", "a"]) == 0
    assert len(Path("a/steps.csv").read_text().splitlines()) == len(rows)
    assert [json.loads(line)["epoch"] for line in Path("a/metrics.jsonl").read_text().splitlines()] == [1, 2]

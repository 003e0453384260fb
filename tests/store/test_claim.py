"""Only a folder that dlrun made is ever replaced, and only one that this process made is ever removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlrun import cli
from dlrun.errors import RunError
from dlrun.report.tables import FIGURES
from dlrun.store.claim import claim
from dlrun.store.files import write_json
from dlrun.store.find import find_runs
from dlrun.store.marks import MARK, is_run
from dlrun.store.rundir import RESULT_FILES, RunDir
from tests.helpers.folders import contents
from tests.helpers.runs_by_hand import make_config, make_run, to_yaml

QUICK = ["device=cpu", "trainer=smoke", "trainer.epochs=1"]


FOREIGN: dict[str, dict[str, str]] = {
    "another program's status": {"status.json": '{"app": "mine"}', "metrics.csv": "x"},
    "a status and a configuration of others": {"status.json": '{"state": "finished"}', "config.yaml": "a: 1\n"},
    "a configuration of dlrun's alone": {"config.yaml": to_yaml(make_config()), "notes.txt": "years of work"},
    "a status that is no JSON": {"status.json": "{", "thesis.tex": "years of work"},
    "files of that kind": {"checkpoints/last.pt": "weights", "metrics.csv": "x"},
    "folders that look set aside": {".replaced/a": "x", ".replacing/b": "y"},
    "a hidden file": {".notes.tmp": "years of work"},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("words", [[], ["run.overwrite=true"], ["resume=auto"], ["init_from=experiment:nosuch"]])
@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_that_dlrun_did_not_make_is_left_alone(
    files: dict[str, str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        Path("f", name).parent.mkdir(parents=True, exist_ok=True)
        Path("f", name).write_text(text)
    before = contents(Path("f"))
    assert cli.main([*QUICK, "run.dir=f", *words]) == 2
    assert "it is left alone" in capsys.readouterr().err
    assert contents(Path("f")) == before


@pytest.mark.usefixtures("quick")
def test_what_fails_before_training_removes_only_what_it_made(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, "init_from=experiment:nosuch"]
    Path("empty").mkdir()
    assert cli.main([*words, "run.dir=empty"]) == 2
    assert contents(Path("empty")) == {}
    assert cli.main([*words, "run.dir=new/place"]) == 2
    assert not Path("new/place").exists()
    assert "nosuch" in capsys.readouterr().err


def test_a_run_that_began_here_is_abandoned_without_what_others_put_there(tmp_path: Path) -> None:
    run = claim(tmp_path / "run", overwrite=False)
    run.write_status(state="running")
    (run.path / "plugins").mkdir()
    (run.path / "notes.txt").write_text("of a reader")
    run.abandon()
    run.unlock()
    assert contents(run.path) == {"notes.txt": b"of a reader"}


def test_a_directory_that_was_there_is_never_abandoned(tmp_path: Path) -> None:
    make_run(tmp_path / "run", state="interrupted")
    before = contents(tmp_path / "run")
    RunDir(tmp_path / "run").abandon()
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("lost", ["config.yaml", "status.json"])
@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_damaged_run_is_not_replaced(tmp_path: Path, lost: str, text: str | None) -> None:
    run = make_run(tmp_path / "run")
    (run / lost).unlink()
    if text is not None:
        (run / lost).write_text(text)
    before = contents(run)
    assert is_run(run)
    with pytest.raises(RunError, match="damaged run"):
        claim(run, overwrite=True)
    assert contents(run) == before


@pytest.mark.usefixtures("quick")
def test_files_of_others_in_a_run_are_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*QUICK, "dataset=line", "model=linear", "trainer.profile=true", "logger=jsonl", "run.dir=a"]
    assert cli.main(words) == 0
    assert cli.main(["report", "a"]) == 0
    assert {"profile.txt", "report.html"} <= contents(Path("a")).keys()
    assert RunDir("a").foreign_files() == []
    for name in ("notes.txt", "checkpoints/mine.pt", "checkpoints/last-notes.txt"):
        Path("a", name).write_text("years of work")
    before = contents(Path("a"))
    assert cli.main([*words, "run.overwrite=true"]) == 2
    assert "(checkpoints/last-notes.txt, checkpoints/mine.pt, notes.txt)" in capsys.readouterr().err
    assert contents(Path("a")) == before


def test_every_figure_and_every_file_of_older_versions_belongs_to_a_run() -> None:
    assert set(FIGURES) <= set(RESULT_FILES)
    runs = list(find_runs(Path(__file__).parents[1] / "fixtures" / "runs"))
    assert runs
    assert [RunDir(path).foreign_files() for path in runs] == [[]] * len(runs)


FIRST_MOMENTS: dict[str, list[str]] = {
    "nothing": [],
    "a lock": [".lock"],
    "a half-written status": [".lock", ".status.json.ab12_xyz.tmp"],
    "a status": [".lock", "status.json"],
    "a half-written configuration": [
        ".lock", "status.json", "overrides.txt", "environment.json", "plugins/a.py.txt", ".config.yaml.ab12_xyz.tmp",
    ],
}  # fmt: skip


@pytest.mark.parametrize("names", FIRST_MOMENTS.values(), ids=FIRST_MOMENTS)
def test_a_run_that_was_killed_in_its_first_moments_leaves_its_place_to_the_next(
    tmp_path: Path, names: list[str]
) -> None:
    path = tmp_path / "run"
    path.mkdir()
    for name in names:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("x")
        if name == "status.json":
            write_json(path / name, MARK | {"state": "running"})
    assert not is_run(path)
    run = claim(path, overwrite=False)
    assert run.begins
    assert not list(path.glob("*.tmp"))
    run.unlock()


def test_a_claim_that_is_interrupted_puts_the_run_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(tmp_path / "run")
    before = contents(path)
    real = RunDir.set_aside

    def interrupted(self: RunDir) -> None:
        real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "set_aside", interrupted)
    with pytest.raises(KeyboardInterrupt):
        claim(path, overwrite=True)
    assert contents(path) == before


def test_an_old_status_without_a_mark_is_known_by_its_fields(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    claimed: Any = claim(path, overwrite=True)
    assert not claimed.begins
    claimed.unlock()

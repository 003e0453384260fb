"""Data that go or break, disks that are full: each ends in one clear way, and costs nothing."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import dlrun
from dlrun import cli
from dlrun.errors import DataError, RunError
from dlrun.run import runner, screen
from dlrun.run.screen import Screen
from dlrun.store.files import CsvTable
from dlrun.store.rundir import RunDir
from tests.helpers.quick_runs import QUICK, begin, interrupt, no_space, run, status

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def pictures(images: Path) -> list[str]:
    """Words for a copy of the pictures that stays on disk."""
    shutil.copytree(images, "pictures")
    return [
        "dataset=image_folder", "dataset.path=pictures", "dataset.size=16", "dataset.in_memory=false",
        "dataset.workers=0", "model=linear",
    ]  # fmt: skip


def test_a_picture_that_breaks_while_training_costs_no_checkpoint(pictures: list[str]) -> None:
    broken: dict[Path, bytes] = {}

    def break_it(row: dict[str, float]) -> bool:
        for path in Path("pictures").rglob("*.png"):
            broken[path] = path.read_bytes()
            path.write_bytes(b"no picture")
        return False

    with pytest.raises(DataError, match="png"):
        begin(*pictures, on_epoch=break_it)
    assert (status()["state"], status()["exit_code"]) == ("failed", 2)
    assert "png" in Path("a/train.log").read_text()
    for path, data in broken.items():
        path.write_bytes(data)
    assert begin(*pictures).exit_code == 0


def test_data_that_are_gone_leave_the_run_as_it_was(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    begin(*pictures, on_epoch=interrupt())
    before = status()
    shutil.move("pictures", "elsewhere")
    assert cli.main(["resume", "a"]) == 2
    assert "pictures" in capsys.readouterr().err
    assert status() == before
    shutil.move("elsewhere", "pictures")
    assert cli.main(["resume", "a"]) == 0


def test_other_data_under_the_same_name_are_noticed(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    begin(*pictures, on_epoch=interrupt())
    shutil.move("pictures/0", "pictures/7")
    assert cli.main(["resume", "a"]) == 2
    assert "labels differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "what",
    [
        "store.files.CsvTable.flush",
        "store.checkpoint.write_last",
        "store.checkpoint.write_checkpoint",
        "run.recorder.rewrite_table",
        "run.closing.write_json",
    ],
)
def test_a_full_disk_is_said_in_one_line(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"dlrun.{what}", no_space)
    assert run() == 4
    printed = capsys.readouterr()
    assert "cannot write to a: No space left" in printed.out
    assert "Traceback" not in printed.out + printed.err
    assert (status()["state"], status()["exit_code"]) == ("failed", 4)


def test_a_disk_too_full_for_the_status_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(CsvTable, "flush", no_space)
    ordinary = RunDir.write_status
    monkeypatch.setattr(
        RunDir, "write_status", lambda self, **c: no_space() if c["state"] == "failed" else ordinary(self, **c)
    )
    assert run() == 4
    assert "status.json could not be written" in capsys.readouterr().out


def test_a_log_that_cannot_be_written_stops_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_log(self: Screen, path: Path) -> None:
        self.log = open("/dev/full", "w")  # noqa: SIM115

    monkeypatch.setattr(Screen, "open_log", full_log)
    assert run() == 0


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "full")])
def test_training_goes_on_when_nobody_reads(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> int:
            raise error

        def flush(self) -> None:
            raise error

        def fileno(self) -> int:
            raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Gone())
        outcome = runner.train(dlrun.compose([*QUICK, "run.dir=a"]), screen=Screen())
    assert outcome.exit_code == 0
    assert "Finished" in Path("a/train.log").read_text()


def test_letters_that_a_terminal_does_not_know_are_spelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open("out.txt", "w", encoding="ascii") as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        Screen().line("é")
    assert Path("out.txt").read_text() == "\\xe9\n"


def test_a_run_directory_that_vanishes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = begin(on_epoch=lambda row: bool(shutil.rmtree("a")))
    assert outcome.exit_code == 4
    assert not Path("a").exists()


def test_a_place_that_may_not_be_written_to_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(RunError, match="cannot write to a: Permission denied"):
        begin()


@pytest.mark.parametrize("place", ["é ö=x", "a b/c=d"])
def test_any_name_will_do_for_a_directory(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, f"run.dir={place}"]) == 0
    words = screen.words_for("resume", Path(place))
    assert "./é" in words or "/" in words
    assert cli.main(["resume", f"./{place}"]) == 0
    assert "is finished" in capsys.readouterr().out

"""Nothing is written through a link, nor outside of the folder that a run or a sweep has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.errors import RunError
from dlrun.store.files import open_append, write_json
from dlrun.store.lock import Lock, is_free
from tests.helpers.folders import contents
from tests.helpers.quick_runs import QUICK, interrupt, status

pytestmark = pytest.mark.usefixtures("quick")
PLACES = [
    ".lock", "train.log", "status.json", "config.yaml", "metrics.csv", "steps.csv", "checkpoints",
    "checkpoints/last.pt", "checkpoints/best-1.pt", "init", "plugins", "metrics.jsonl", ".replacing",
]  # fmt: skip


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that was interrupted after the first."""
    from dlrun.run import runner

    path = tmp_path_factory.mktemp("runs") / "a"
    config = dlrun.compose([*QUICK, f"run.dir={path}", "checkpoint.every_epochs=1"])
    assert runner.train(config, on_epoch=interrupt()).exit_code == 143
    return path


@pytest.mark.parametrize("words", [["resume", "a"], [*QUICK, "run.dir=a", "run.overwrite=true"]], ids=" ".join)
@pytest.mark.parametrize("name", PLACES)
def test_a_link_in_a_foreign_run_is_not_written_through(
    name: str, words: list[str], unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(unfinished, "a")
    place, precious = Path("a", name), Path("precious")
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    target = precious
    if place.is_file() or "." in name[1:] or name == ".lock":
        target = precious / "file"
        shutil.copy(place, target) if place.exists() else target.write_text("years of work")
    elif place.is_dir():
        shutil.copytree(place, precious, dirs_exist_ok=True)
    if place.exists():
        place.unlink() if place.is_file() else shutil.rmtree(place)
    place.symlink_to(target.absolute())
    before = contents("a"), contents("precious")
    assert cli.main(words) == 2
    assert f"a/{name} is a link to" in capsys.readouterr().err
    assert (contents("a"), contents("precious")) == before


def test_a_dangling_link_makes_no_file_elsewhere(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(unfinished, "a")
    for name in (".lock", "train.log", "checkpoints/best-1.pt"):
        Path("a", name).unlink(missing_ok=True)
        Path("a", name).symlink_to(Path("elsewhere").absolute())
        assert cli.main(["resume", "a"]) == 2
        assert not Path("elsewhere").exists()
        Path("a", name).unlink()
    capsys.readouterr()
    assert cli.main(["resume", "a"]) == 0


def test_a_pipe_in_the_place_of_a_file_blocks_nothing(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(unfinished, "a")
    for name in (".lock", "train.log", "steps.csv"):
        Path("a", name).unlink(missing_ok=True)
        os.mkfifo(Path("a", name))
        assert cli.main(["resume", "a"]) == 2
        assert f"a/{name} is a pipe or a device" in capsys.readouterr().err
        Path("a", name).unlink()
    os.mkfifo("pipe")
    with pytest.raises(OSError, match="No such device"):
        open_append(Path("pipe"))


def test_a_lock_that_is_a_link_tells_nothing_of_the_file_behind_it(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lock = Lock(other)
    lock.hold()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").symlink_to(other / ".lock")
    with pytest.raises(RunError, match="writes through no link"):
        Lock(tmp_path / "a").hold()
    assert not is_free(other)
    lock.release()


@pytest.mark.parametrize("slug", ["../../precious", "..", ".", "a/b", "/abs", "", ".hidden", "a\n"])
@pytest.mark.parametrize("action", [["sweep", "status"], ["sweep", "retry"], ["sweep", "stop"]])
def test_a_slug_that_leads_out_of_the_sweep_is_refused(
    slug: str, action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("s").mkdir()
    frozen = dlrun.compose([*QUICK]).to_dict()
    write_json(Path("s/sweep.yaml"), {"format": 1, "jobs": {slug: {"overrides": ["seed=1"], "frozen": frozen}}})
    before = contents("s")
    assert cli.main([*action, "s"]) == 2
    assert "which is no name of a folder" in capsys.readouterr().err
    assert contents("s") == before


@pytest.mark.parametrize("name", ["jobs", "jobs/a", ".state", ".state/a.log", ".lock"])
def test_a_link_in_a_foreign_sweep_is_not_written_through(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s/jobs").mkdir(parents=True)
    Path("s/.state").mkdir()
    Path("precious").mkdir()
    Path("precious/file").write_text("years of work")
    frozen = dlrun.compose([*QUICK]).to_dict()
    settings = frozen["sweep"] | {"executor": "local"}
    jobs = {"a": {"overrides": ["seed=1"], "frozen": frozen}}
    write_json(Path("s/sweep.yaml"), {"format": 1, "settings": settings, "jobs": jobs})
    place = Path("s", name)
    if place.is_dir():
        place.rmdir()
    place.symlink_to(Path("precious/file" if name in (".lock", ".state/a.log") else "precious").absolute())
    before = contents("precious")
    assert cli.main(["sweep", "retry", "s"]) == 2
    assert f"s/{name} is a link to" in capsys.readouterr().err
    assert contents("precious") == before
    assert status() == {}

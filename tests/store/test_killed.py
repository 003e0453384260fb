"""A run, and one that replaces another, killed before each operation on files: one of the two is whole, and all agree
on which.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path

import pytest

from dlrun.store.claim import claim
from dlrun.store.files import CsvTable, write_atomic, write_json
from dlrun.store.rundir import RunDir
from tests.helpers.file_operations import kill, stopped_before
from tests.helpers.folders import agreed, contents
from tests.helpers.runs_by_hand import make_config, make_run, to_yaml


def story(path: Path, end: str, *, overwrite: bool) -> None:
    """What a run does with files, without training."""
    run = claim(path, overwrite=overwrite)
    run.write_status(state="running", name="new", started="2026-11-21T12:00:00+00:00")
    write_atomic(run.file("overrides.txt"), b"seed=1\n")
    write_json(run.environment, {})
    write_atomic(run.config, to_yaml(make_config(seed=1)).encode())
    table = CsvTable(run.metrics, ["epoch", "val_loss"]).open()
    table.close()
    if end == "fails":
        run.put_back() or run.write_status(state="failed")
    elif end == "is refused":
        run.put_back() or run.abandon()
    else:
        run.checkpoints.mkdir()
        write_atomic(run.best, b"new")
        write_atomic(run.last, b"new", sync=True)
        run.write_status(step=3)
        run.forget_aside()
        write_json(run.summary, {})
        run.write_status(state="finished")
    run.unlock()


def old_run(path: Path) -> dict[str, bytes]:
    make_run(path)
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "plugins/a.py.txt", "crash.pt"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("old")
    return contents(path)


ENDS = ["finishes", "fails", "is refused"]
stride = pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.faults)])


@stride
@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_replaces_another_leaves_one_of_them_whole(end: str, stride: int, tmp_path: Path) -> None:
    seen = set()
    for point in count(1, stride):
        path = tmp_path / str(point) / "run"
        old = old_run(path)
        if not stopped_before(point, kill, partial(story, path, end, overwrite=True)):
            break
        seen.add(name := agreed(path))
        if name == "run":
            assert contents(path) == old
        else:
            assert (path / "checkpoints/last.pt").read_text() == "new"
            assert not (path / "crash.pt").exists(), "files of both runs"
    assert seen == ({"run", "new"} if end == "finishes" else {"run"})
    assert point > 30


@stride
@pytest.mark.parametrize("end", ENDS)
def test_a_run_in_a_place_of_its_own_leaves_a_run_or_nothing(end: str, stride: int, tmp_path: Path) -> None:
    seen = set()
    for point in count(1, stride):
        path = tmp_path / str(point) / "run"
        if not stopped_before(point, kill, partial(story, path, end, overwrite=False)):
            break
        seen.add(agreed(path))
    assert seen == {None, "new"}
    assert point > 20


@stride
def test_a_kill_while_a_killed_run_is_brought_in_order_changes_nothing(stride: int, tmp_path: Path) -> None:
    for first in (6, 12, 17, 30):
        for second in count(1, stride):
            path = tmp_path / f"{first} {second}" / "run"
            old = old_run(path)
            assert stopped_before(first, kill, partial(story, path, "finishes", overwrite=True))
            if not stopped_before(second, kill, RunDir(path).settle):
                break
            assert agreed(path) == "run"
            assert contents(path) == old

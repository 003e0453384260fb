"""Run directories: never shared, never overwritten unasked, found by path, name or `last`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dlrun.errors import RunError
from dlrun.store.claim import claim, fresh_dir
from dlrun.store.files import TEMPORARY, CsvTable, cut_steps, rewrite_table, write_json
from dlrun.store.find import find_run
from dlrun.store.marks import MARK
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from tests.helpers.python import run_python


def make_run(path: Path, state: str, **fields: str) -> RunDir:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("model: {}\ndataset: {}\noptimizer: {}\ntrainer: {}\n")
    write_json(path / "status.json", MARK | {"state": state} | fields)
    return RunDir(path)


def test_runs_of_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 21, 9, 5, 3)
    paths = [fresh_dir(tmp_path, "mlp-digits", moment).path for _ in range(3)]
    names = ["09-05-03-mlp-digits", "09-05-03-mlp-digits-2", "09-05-03-mlp-digits-3"]
    assert [path.relative_to(tmp_path) for path in paths] == [Path("2026-11-21") / name for name in names]


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds no dlrun run"):
        claim(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_finished_run_is_replaced_only_when_asked(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "finished")
    with pytest.raises(RunError, match=r"run\.overwrite=true"):
        claim(tmp_path / "run", overwrite=False)
    claim(tmp_path / "run", overwrite=True).unlock()


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_an_unfinished_run_is_offered_to_go_on(tmp_path: Path, state: str) -> None:
    make_run(tmp_path / "run", state)
    with pytest.raises(RunError, match="dlrun resume"):
        claim(tmp_path / "run", overwrite=False)


def test_a_replaced_run_comes_back_until_the_new_one_has_a_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "finished", name="old")
    run = claim(tmp_path / "run", overwrite=True)
    run.write_status(state="running", name="new")
    assert run.put_back()
    assert run.read_status()["name"] == "old"
    run.unlock()

    run = claim(tmp_path / "run", overwrite=True)
    run.write_status(state="running", name="new")
    run.checkpoints.mkdir()
    run.last.touch()
    assert not run.put_back()
    assert run.read_status()["name"] == "new"


def files_of(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != ".lock"}


def replace_run(path: Path) -> None:
    """What `run.overwrite=true` does until the new run's first checkpoint."""
    run = claim(path, overwrite=True)
    try:
        run.write_status(state="running", name="new")
        (path / "train.log").write_text("new")
        run.put_back()  # as after a failure
    finally:
        run.unlock()


@pytest.mark.parametrize("point", range(1, 40))
def test_a_replaced_run_survives_a_kill_at_any_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    run = make_run(tmp_path / "run", "finished", name="old")
    run.checkpoints.mkdir()
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.csv", "train.log"):
        run.file(name).write_text("old")
    before, calls = files_of(run.path), 0

    def killed_at(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == point:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return call

    for name in ("replace", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(os, name, killed_at(getattr(os, name)))
    try:
        replace_run(run.path)
    except KeyboardInterrupt:
        pass
    else:
        assert calls < point, "every point was tried"
    monkeypatch.undo()
    assert find_run(str(run.path), tmp_path).path == run.path
    with pytest.raises(RunError, match=r"run\.overwrite=true"):  # whatever is there is a run
        claim(run.path, overwrite=False)
    assert files_of(run.path) == before
    assert run.read_status()["name"] == "old"
    assert run.last.read_text() == "old"


def test_a_run_that_was_killed_while_it_began_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    run.config.unlink()
    claim(run.path, overwrite=False).unlock()


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "running")
    run.checkpoints.mkdir()
    for path in (run.path, run.checkpoints):
        (path / f".last.pt.x7abc_12{TEMPORARY}").write_text("half")
    run.lock()
    run.unlock()
    assert files_of(run.path) == {"config.yaml", "status.json"}


def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.lock()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # as a process that reads data does, it outlives the one that trains
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    run.unlock()
    RunDir(tmp_path).lock()
    os.close(write)
    os.waitpid(child, 0)
    os.close(read)


def test_a_folder_of_that_name_does_not_hide_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "outputs" / "2026-01-01" / "a", "finished", name="data")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_run("data", Path("outputs")).path.name == "a"


def test_two_processes_cannot_hold_one_directory(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.lock()
    code = f"from dlrun.store.rundir import RunDir; RunDir({str(tmp_path)!r}).lock()"
    other = run_python(code)
    assert "in use by another dlrun process (pid" in other.stderr
    run.unlock()
    assert run_python(code).returncode == 0


def test_a_stale_lock_file_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("pid 1 on elsewhere")
    RunDir(tmp_path).lock()


def test_runs_are_found_by_path_name_and_last(tmp_path: Path) -> None:
    make_run(tmp_path / "2026-01-01" / "a", "finished", name="first", started="2026-01-01T00:00:00")
    make_run(tmp_path / "2026-01-02" / "b", "finished", name="second", started="2026-01-02T00:00:00")
    assert find_run("first", tmp_path).path.name == "a"
    assert find_run("last", tmp_path).path.name == "b"
    assert find_run(str(tmp_path / "2026-01-01" / "a"), tmp_path).path.name == "a"
    with pytest.raises(RunError, match="no run 'third'"):
        find_run("third", tmp_path)
    with pytest.raises(RunError, match="no run 'xxx"):
        find_run("x" * 300, tmp_path)


def test_json_is_whole_and_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": float("nan"), "rows": [1.5, float("inf")]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": None, "rows": [1.5, None]}
    (tmp_path / "a.json").write_text('{"loss": 1')
    assert read_json(tmp_path / "a.json") == {}


def test_tables_grow_by_rows_and_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    table = CsvTable(path, ["step", "loss", "lr"]).open()
    table.add({"step": step, "loss": step / 3, "lr": None} for step in (1, 2, 3))
    table.close()
    with open(path, "a") as file:
        file.write("4,0.1")  # the process died in the middle of a line
    cut_steps(path, last_step=2)
    assert path.read_text() == f"step,loss,lr\n1,{1 / 3!r},\n2,{2 / 3!r},\n"


def test_a_table_is_replaced_as_a_whole(tmp_path: Path) -> None:
    rewrite_table(tmp_path / "m.csv", ["epoch", "val_loss"], [{"epoch": 1}, {"epoch": 2, "val_loss": 0.5}])
    assert (tmp_path / "m.csv").read_text() == "epoch,val_loss\n1,\n2,0.5\n"

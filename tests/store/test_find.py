"""Runs are found by a path, a name that is theirs alone, or as the last one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrun.errors import RunError
from dlrun.store.find import find_run
from tests.helpers.runs_by_hand import make_run


def named_run(path: Path, name: str, started: str) -> Path:
    """A run that calls itself so."""
    run = make_run(path, started=started)
    status = json.loads((run / "status.json").read_text()) | {"name": name}
    (run / "status.json").write_text(json.dumps(status))
    return run


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "outputs"
    named_run(root / "day" / "a", "first", "2026-01-01T23:00:00+01:00")
    named_run(root / "day" / "b", "second", "2026-01-01T20:00:00-06:00")
    named_run(root / "day" / "c", "third", "2026-01-02T03:00:00+05:00")
    job = named_run(root / "sweeps" / "rates" / "jobs" / "lr0.1", "lr0.1", "2026-01-05T00:00:00+00:00")
    (job.parents[1] / "sweep.yaml").touch()
    return root


def test_the_last_run_began_last_whatever_its_time_zone(outputs: Path) -> None:
    assert find_run("last", outputs).path.name == "b"


def test_a_job_of_a_sweep_is_not_the_last_run(outputs: Path, tmp_path: Path) -> None:
    assert find_run("last", outputs).path.parent.name == "day"
    with pytest.raises(RunError, match="no run under"):
        find_run("last", outputs / "sweeps")


@pytest.mark.parametrize("word", ["lr0.1", "rates/lr0.1", "outputs/sweeps/rates/jobs/lr0.1"])
def test_a_job_is_found_by_its_names(word: str, outputs: Path) -> None:
    assert find_run(word, outputs).path.name == "lr0.1"


def test_a_name_that_two_runs_have_is_refused(outputs: Path) -> None:
    named_run(outputs / "day" / "d", "second", "2026-01-03T00:00:00+00:00")
    with pytest.raises(RunError, match=r"(?s)'second' is the name of 2; .*/day/b\n.*/day/d"):
        find_run("second", outputs)


def test_a_name_that_nothing_has_gets_the_nearest(outputs: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run 'thirt'.* Did you mean third\?"):
        find_run("thirt", outputs)
    with pytest.raises(RunError, match="holds no run"):
        find_run(str(outputs / "day"), outputs)

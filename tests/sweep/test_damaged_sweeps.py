"""A sweep.yaml with values of a wrong kind is one error that names the key, for every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import dlrun
from dlrun import cli
from dlrun.plain import Values
from dlrun.store.files import write_json
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.state import Record, read_record, write_record
from dlrun.sweep.stored import FILE, JOB, SEARCH
from tests.helpers.folders import contents

pytestmark = pytest.mark.usefixtures("quick")
WRONG: list[Any] = [3, -1, True, "x", "../x", [1], ["x"], {"x": 1}, {1: 2}, [{"x": 1}], float("nan")]
SETTINGS = ("workers", "per_gpu", "slurm", "job_timeout", "retry_failed", "refresh", "search", "trials", "pruner")


def stored() -> Values:
    """A sweep.yaml of one job that waits, as dlrun writes it."""
    frozen = dlrun.compose(["trainer=smoke", "device=cpu"]).to_dict()
    job = {"overrides": ["trainer=smoke"], "swept": {"seed": 0}, "identity": "a", "folder": str(Path.cwd())}
    search = {"search": "grid", "space": {}}
    commands = [{"at": "2026-01-01", "command": "dlrun -m seed=0", "jobs": 1}]
    return {
        "format": 1, "commands": commands, "settings": frozen["sweep"], "search": search, "base": frozen,
        "jobs": {"seed0": job},
    }  # fmt: skip


def changes() -> list[tuple[str, str, Any]]:
    """Every key of the file, of a search and of a job with every value that is wrong under it."""
    parts: dict[str, Any] = {"": FILE, "search": SEARCH, "job": JOB}
    found = [
        (part, key, value) for part, keys in parts.items() for key, (check, _) in keys.items() for value in WRONG
        if not check(value)
    ]  # fmt: skip
    frozen = [("frozen", key, value) for key in ("model", "device", "trainer", "seed") for value in ("x", [], None)]
    settings = [("settings", key, value) for key in SETTINGS for value in ("x y", -1.5, [[]], {"x": []})]
    return [*found, *frozen, *(one for one in settings if not (one[1] == "slurm" and isinstance(one[2], dict)))]


ALL = changes()
SAMPLE = [pytest.param(*each, marks=[pytest.mark.faults] * bool(i % 12)) for i, each in enumerate(ALL)]


@pytest.mark.parametrize(("part", "key", "value"), SAMPLE)
def test_a_value_of_a_wrong_kind_is_named(part: str, key: str, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    values = stored()
    job = values["jobs"]["seed0"]
    place = (
        {"": values, "job": job, "frozen": job.setdefault("frozen", {})}.get(part)
        if part in ("", "job", "frozen")
        else values[part]
    )
    place[key] = value
    Path("s").mkdir()
    Path("s/sweep.yaml").write_text(yaml.safe_dump(values))
    before = contents("s")
    for words in (["sweep", "status", "s"], ["sweep", "retry", "s"], ["-m", "seed=0", "sweep.dir=s"]):
        assert cli.main(words) == 2
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        assert "s/sweep.yaml" in printed
        assert key in printed
    assert contents("s") == before


def test_what_dlrun_writes_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    values = stored()
    del values["settings"]["pruner"]  # as an older dlrun wrote it
    Path("s").mkdir()
    Path("s/sweep.yaml").write_text(yaml.safe_dump(values))
    sweep = SweepDir("s")
    sweep.read()
    assert sweep.settings["pruner"] == "none"
    assert list(sweep.jobs) == ["seed0"]
    assert cli.main(["sweep", "status", "s"]) == 0
    assert "1 waiting" in capsys.readouterr().out


def test_a_record_keeps_what_is_of_the_right_kind(tmp_path: Path) -> None:
    sweep = SweepDir(tmp_path)
    sweep.state.mkdir()
    write_record(sweep, "a", Record(state="failed", attempts=2, seconds=1.5))
    assert read_record(sweep, "a") == Record(state="failed", attempts=2, seconds=1.5)
    wrong = {"state": [1], "attempts": "x", "seconds": 3, "handle": None, "failure": [1], "other": 1}
    write_json(sweep.state / "b.json", wrong)
    assert read_record(sweep, "b") == Record(seconds=3.0)

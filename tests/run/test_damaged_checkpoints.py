"""A checkpoint of other content than dlrun writes is one error for every command: no traceback, no endless loop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.engine.state import History
from dlrun.errors import RunError
from dlrun.run import runner
from dlrun.store import checkpoint
from dlrun.store.contents import BEST_FILE, CRASH_FILE, LAST_FILE
from tests.helpers.quick_runs import QUICK, interrupt

pytestmark = pytest.mark.usefixtures("quick")
NAN = float("nan")
WRONG: list[Any] = [None, NAN, -1, "x", [], {}, [1], {"x": 1}, torch.zeros(2)]


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted after its first epoch, with a step that is kept."""
    path = tmp_path_factory.mktemp("runs") / "a"
    config = dlrun.compose([*QUICK, f"run.dir={path}", "checkpoint.every_epochs=1", "checkpoint.keep=1"])
    assert runner.train(config, on_epoch=interrupt()).exit_code == 143
    values = checkpoint.read_checkpoint(path / "checkpoints/last.pt", fields=LAST_FILE)
    inputs, target = [torch.zeros(4, 1, 8, 8)], torch.zeros(4, dtype=torch.int64)
    capsule = {"reason": "the loss is nan", "step": 3, "epoch": 1, "inputs": inputs, "target": target}
    checkpoint.write_checkpoint(
        path / "crash.pt", capsule | {"model": values["model"], "rng": values["rng"][0], "scale": 1.0}
    )
    return path


def write_changed(path: Path, key: str, value: Any) -> None:
    """Put something else under a key of a file; `drop` takes the key away."""
    values = checkpoint.read_tensors(path) | {key: value}
    if isinstance(value, str) and value == "drop":
        del values[key]
    checkpoint.write_checkpoint(path, values)


def changes(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    """Every key with every value that is wrong under it; `drop` stands for no key at all."""
    wrong = [(key, value) for key, check in fields.items() for value in WRONG if not check(value)]
    return [
        *((key, "drop") for key in fields),
        *wrong,
        ("format", "x"),
        ("format", NAN),
        ("format", 99),
        ("format", []),
    ]


def spread(found: list[tuple[str, Any]], every: int) -> list[Any]:
    """A sample of them for every day, the others among the faults."""
    return [pytest.param(*each, marks=[pytest.mark.faults] * bool(i % every)) for i, each in enumerate(found)]


@pytest.mark.parametrize(("key", "value"), spread(changes(LAST_FILE), 7))
def test_resume_refuses_a_checkpoint_of_other_content(
    key: str, value: Any, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(unfinished, "a")
    write_changed(Path("a/checkpoints/last.pt"), key, value)
    assert cli.main(["resume", "a"]) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "has no checkpoint that can be read" in printed.err
    assert key in printed.err


@pytest.mark.parametrize(("key", "value"), spread(changes(CRASH_FILE), 7))
def test_replay_refuses_a_capsule_of_other_content(
    key: str, value: Any, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(unfinished, "a")
    write_changed(Path("a/crash.pt"), key, value)
    assert cli.main(["replay", "a"]) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "a/crash.pt" in printed.err


@pytest.mark.parametrize(("key", "value"), spread(changes(BEST_FILE), 7))
def test_a_best_checkpoint_of_other_content_costs_only_itself(key: str, value: Any, unfinished: Path) -> None:
    shutil.copytree(unfinished, "a")
    write_changed(Path("a/checkpoints/best.pt"), key, value)
    if key not in ("best",):
        with pytest.raises(RunError):
            dlrun.load_run("a").model("best")
    assert cli.main(["resume", "a"]) == 0


FITS_NOT, DAMAGED = "weights of another model", "totals of other names"
SAID = {FITS_NOT: "the checkpoint does not fit this configuration", DAMAGED: "the checkpoint is damaged"}
INSIDE: dict[str, dict[str, Any]] = {
    FITS_NOT: {"model": {"w": torch.zeros(3)}},
    "an optimizer without groups": {"optimizer": {"state": {}, "param_groups": []}},
    "groups that are no groups": {"optimizer": {"state": {}, "param_groups": [1]}},
    "a history of other columns": {"history": {"columns": ["a"], "values": torch.zeros(2), "kept": torch.zeros(3)}},
    DAMAGED: {"sums": {"x": 1}},
    "a batch beyond the epoch": {"cursor": 10**9},
    "a random state that is too short": {"rng": [{"python": [1], "numpy": [1], "torch": torch.zeros(1)}]},
    "a spec of nothing": {"spec": {}},
}


@pytest.mark.parametrize("name", INSIDE)
def test_values_that_do_not_fit_are_one_error(name: str, unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(unfinished, "a")
    for key, value in INSIDE[name].items():
        write_changed(Path("a/checkpoints/last.pt"), key, value)
    code = cli.main(["resume", "a"])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert code == 2 or "spec" in INSIDE[name]
    assert SAID.get(name, "") in printed.err


def test_another_exception_while_a_checkpoint_is_loaded_is_a_bug(
    unfinished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: History, state: Any) -> None:
        assert not state, "a bug"

    shutil.copytree(unfinished, "a")
    monkeypatch.setattr(History, "load_state_dict", broken)
    assert cli.main(["resume", "a"]) == 1
    assert "This is a bug of dlrun's" in capsys.readouterr().err


def test_a_capsule_of_another_model_is_one_error(unfinished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(unfinished, "a")
    write_changed(Path("a/crash.pt"), "model", {"w": torch.zeros(3)})
    assert cli.main(["replay", "a"]) == 2
    assert "does not fit this configuration" in capsys.readouterr().err
    shutil.copy(unfinished / "crash.pt", "a/crash.pt")
    assert cli.main(["replay", "a"]) == 0

"""Going on with something else than before: a lost best.pt, other settings, another machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun import cli
from dlrun.store import checkpoint
from dlrun.store.reading import read_json
from tests.helpers.quick_runs import begin, interrupt

pytestmark = pytest.mark.usefixtures("quick")


def test_a_crash_between_best_and_last_mixes_no_two_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """best.pt of a later epoch than last.pt is not taken for the best of the run that goes on from last.pt."""

    class Killed(BaseException):
        pass

    ordinary, seen = checkpoint.write_last, 0

    def killed(*arguments: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise Killed
        ordinary(*arguments)

    words = ["trainer.epochs=6", "trainer.max_batches=null"]  # every epoch is better than the one before
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_last", killed)
        with pytest.raises(Killed):
            begin(*words)
    last = checkpoint.read_checkpoint(Path("a/checkpoints/last.pt"))
    assert checkpoint.read_checkpoint(Path("a/checkpoints/best.pt"))["best"]["epoch"] > last["best"]["epoch"]
    monkeypatch.setattr("dlrun.engine.loop.is_finished", lambda *_: True)  # no further epoch puts it right
    assert begin(*words).exit_code == 0
    assert checkpoint.read_checkpoint(Path("a/checkpoints/best.pt"))["best"]["epoch"] == last["best"]["epoch"]
    assert not Path("a/checkpoints/best-1.pt").exists()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_lost_best_is_chosen_anew_and_that_is_said(
    damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trainer.epochs=3", "trainer.max_batches=null", "checkpoint.monitor=train_loss"]
    begin(*words, "checkpoint.mode=max", on_epoch=lambda row: row["epoch"] == 2 and interrupt()(row))
    assert checkpoint.read_checkpoint(Path("a/checkpoints/last.pt"))["best"]["epoch"] == 1
    damage(Path("a/checkpoints/best.pt"))
    assert cli.main(["resume", "a"]) == 0
    assert "the best epoch is chosen from here on" in capsys.readouterr().out
    assert read_json(Path("a/summary.json"))["best"]["epoch"] == 3


def rates() -> list[float]:
    return [float(line.split(",")[2]) for line in Path("a/steps.csv").read_text().splitlines()[1:]]


def test_a_forced_rate_is_used_and_the_moments_stay(capsys: pytest.CaptureFixture[str]) -> None:
    begin("optimizer=momentum", "optimizer.lr=0.1", on_epoch=interrupt())
    moments = checkpoint.read_checkpoint(Path("a/checkpoints/last.pt"))["optimizer"]["state"]
    assert cli.main(["resume", "a", "--force", "optimizer.lr=0.01"]) == 0
    assert rates() == [0.1] * 4 + [0.01] * 4
    assert moments
    assert "with another optimizer" in capsys.readouterr().out


def test_a_forced_schedule_or_optimizer_starts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    begin("optimizer=sgd", "trainer.epochs=3", on_epoch=interrupt())
    assert cli.main(["resume", "a", "--force", "optimizer=adam", "scheduler=linear", "scheduler.total_epochs=2"]) == 0
    assert "the schedule and the optimizer start anew" in capsys.readouterr().out
    assert rates()[4:] != rates()[:8]


def test_a_forced_model_that_does_not_fit_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    begin(on_epoch=interrupt())
    assert cli.main(["resume", "a", "--force", "model.hidden=[3]"]) == 2
    assert "does not fit this configuration" in capsys.readouterr().err
    assert Path("a/checkpoints/last.pt").exists()


def test_another_monitor_chooses_the_best_anew(capsys: pytest.CaptureFixture[str]) -> None:
    begin("trainer.epochs=3", on_epoch=interrupt())
    words = ["checkpoint.monitor=val_accuracy", "checkpoint.every_epochs=1"]
    assert cli.main(["resume", "a", *words]) == 0
    assert "by val_accuracy" in capsys.readouterr().out
    assert read_json(Path("a/summary.json"))["best"]["epoch"] > 1


def test_another_number_of_threads_is_said_and_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    begin("device.threads=1", on_epoch=interrupt())
    assert cli.main(["resume", "a", "device.threads=2"]) == 0
    torch.set_num_threads(before)
    assert "1 thread) and is cpu (2 threads) now" in capsys.readouterr().out
    facts = read_json(Path("a/environment.json"))
    assert [entry["device"] for entry in facts["earlier"]] == ["cpu (1 thread)"]

"""A run that is made longer: what becomes of its schedule is chosen, told, and kept when it goes on once more."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun import cli
from dlrun.report.html import run_page
from dlrun.run.resume import Asked, resume, stored_config
from dlrun.run.runner import train
from dlrun.run.screen import Screen
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_columns
from dlrun.store.rundir import RunDir
from tests.helpers.cases import slow_where
from tests.helpers.quick_runs import QUICK, interrupt, run

pytestmark = pytest.mark.usefixtures("quick")

MOMENTUM = ["optimizer=momentum", "optimizer.lr=0.1"]


def rates(run: str = "a") -> list[float]:
    """The learning rate of each step."""
    return read_columns(Path(run) / "steps.csv")["lr"]


def whole(epochs: int, *words: str) -> list[float]:
    """The rates of a run that has so many epochs from its beginning."""
    assert cli.main([*QUICK, f"run.dir=whole{epochs}", f"trainer.epochs={epochs}", *words]) == 0
    return rates(f"whole{epochs}")


@pytest.mark.parametrize("name", ["onecycle", "cosine", *slow_where(bool, ["polynomial", "warmup_cosine", "linear"])])
def test_a_finished_run_of_2_epochs_is_stretched_to_4_or_begins_again(name: str) -> None:
    words = [*MOMENTUM, f"scheduler={name}"]
    full, short = whole(4, *words), whole(2, *words)
    for how, expected in (("stretch", short + full[8:]), ("restart", short * 2)):
        assert run(*words, "run.overwrite=true") == 0
        assert cli.main(["resume", "a", "trainer.epochs=4", "--schedule", how]) == 0
        assert rates() == pytest.approx(expected)


def test_held_the_last_rate_stays_for_good() -> None:
    words = [*MOMENTUM, "scheduler=cosine", "scheduler.eta_min=0.01"]
    assert run(*words) == 0
    assert cli.main(["resume", "a", "trainer.epochs=3", "--schedule=hold"]) == 0
    assert rates()[8:] == pytest.approx([0.01] * 4)
    assert cli.main(["resume", "a", "trainer.epochs=4", "--schedule=hold"]) == 0
    assert rates()[8:] == pytest.approx([0.01] * 8)


def test_a_rate_of_0_is_not_held(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scheduler=polynomial") == 0
    assert cli.main(["resume", "a", "trainer.epochs=3", "--schedule", "hold"]) == 2
    assert "ends at a learning rate of 0" in capsys.readouterr().err


def test_without_a_choice_it_is_refused_and_the_choices_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scheduler=onecycle") == 0
    before = Path("a/config.yaml").read_text()
    for words in (["trainer.epochs=4"], ["--force", "trainer.epochs=4"]):
        assert cli.main(["resume", "a", *words]) == 2
        told = capsys.readouterr().err
        assert "dlrun resume RUN trainer.epochs=4 --schedule stretch" in told
        assert "--force" not in told
    assert cli.main(["resume", "a", "trainer.epochs=4", "--schedule", "strech"]) == 2
    assert "Did you mean stretch?" in capsys.readouterr().err
    assert Path("a/config.yaml").read_text() == before


@pytest.mark.parametrize("how", ["stretch", "restart"])
def test_a_longer_run_that_is_interrupted_goes_on_as_it_was_chosen(how: str) -> None:
    words = [*MOMENTUM, "scheduler=onecycle"]
    assert run(*words) == 0
    assert cli.main(["resume", "a", "trainer.epochs=4", "--schedule", how]) == 0
    expected = rates()
    assert run(*words, "run.overwrite=true", "checkpoint.every_epochs=1") == 0
    own = stored_config(RunDir(Path("a")))
    values = own.to_dict()
    values["trainer"]["epochs"] = 4
    config = type(own).checked(values)
    screen = Screen(silent=True, terminal=False)
    resume(RunDir(Path("a")), config, train=train, screen=screen, asked=Asked(schedule=how), on_epoch=interrupt())
    assert len(rates()) == 12
    assert cli.main(["resume", "a"]) == 0
    assert rates() == pytest.approx(expected)


def test_more_patience_lets_a_run_go_on_that_stopped_early(capsys: pytest.CaptureFixture[str]) -> None:
    stop = ["trainer.epochs=6", "trainer.early_stop.patience=1", "trainer.early_stop.min_delta=100"]
    assert run(*stop) == 0
    assert len(rates()) == 8
    assert cli.main(["resume", "a", "trainer.epochs=9"]) == 2
    assert "stopped early" in capsys.readouterr().err
    assert cli.main(["resume", "a", "trainer.early_stop.patience=3"]) == 0
    assert len(rates()) == 16
    assert cli.main(["resume", "a", "trainer.early_stop.patience=null"]) == 0
    assert len(rates()) == 24


def test_the_words_of_a_resume_are_told_with_the_command() -> None:
    assert run("scheduler=cosine") == 0
    assert cli.main(["resume", "a", "trainer.epochs=3", "--schedule", "restart"]) == 0
    assert cli.main(["resume", "a"]) == 0
    told = StoredRun("a")
    resumed = "dlrun resume RUN trainer.epochs=3 --schedule restart  # after epoch 2, step 8"
    assert told.commands.splitlines() == [told.command, resumed]
    assert told.command.endswith("scheduler=cosine")
    assert "trainer.epochs" in (told.overridden or ())
    assert resumed in run_page(told)

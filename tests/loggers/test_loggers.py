"""A logger is a function of a record, or makes one: what it is given, also over resumes, and that it ends no run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imsave

import dlrun
from dlrun import cli
from dlrun.loggers.record import Logger, Record
from dlrun.run import logging
from dlrun.run.context import RunContext
from dlrun.run.runner import train
from tests.helpers.quick_runs import QUICK, begin, interrupt, run, status

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def figures(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two figures at once, in place of those that take a second."""

    def draw(context: RunContext, *_: Any) -> None:
        for name in ("curves.png", "confusion.png"):
            imsave(context.run.file(name), np.eye(4))

    monkeypatch.setattr("dlrun.run.closing.draw", draw)


@pytest.fixture
def given() -> list[Record]:
    """What the logger `mine` is given."""
    records: list[Record] = []

    def mine(record: Record, project: str = "p") -> None:
        """A logger of my own."""
        records.append(record)

    dlrun.register.logger("mine")(mine)
    return records


def epochs(records: list[Record]) -> list[int]:
    """The epochs that are new to a logger which keeps everything."""
    rows: list[dict[str, float]] = []
    for record in records:
        if record.kind == "begun":
            rows += record.missed
        elif record.kind == "epoch" and not record.again:
            rows.append(record.row)
    return [int(row["epoch"]) for row in rows]


@pytest.mark.usefixtures("figures")
def test_a_logger_is_given_the_configuration_the_epochs_and_what_came_of_it(given: list[Record]) -> None:
    assert run("logger=mine", "optimizer.lr=0.25", "run.name=nice") == 0
    begun, *rows, ended = given
    assert isinstance(begun, dlrun.RunBegun)
    assert (begun.config["optimizer.lr"], begun.config["logger.project"]) == (0.25, "p")
    assert (begun.name, begun.path, begun.resumed, begun.rows) == ("nice", Path("a").resolve(), False, ())
    assert [type(row) for row in rows] == [dlrun.EpochDone] * 2
    assert epochs(given) == [1, 2]
    assert isinstance(ended, dlrun.RunEnded)
    assert ended.state == "finished"
    assert ended.summary == json.loads(Path("a/summary.json").read_text())
    assert ended.results["test_accuracy"] == ended.summary["test"]["accuracy"]
    assert ended.results["best_epoch"] == ended.summary["best"]["epoch"]
    assert ended.best == Path("a/checkpoints/best.pt").resolve()
    assert ended.figures == tuple(Path("a", name).resolve() for name in ("confusion.png", "curves.png"))
    assert len({record.id for record in given}) == 1


class Made:
    """A class whose objects are loggers."""

    def __init__(self, word: str = "none") -> None:
        self.word = word

    def __call__(self, record: Record) -> None:
        said.append((self.word, record.kind))


def maker(*, word: str) -> Logger:
    return lambda record: said.append((word, record.kind))


def plain(record: Record, word: str = "none") -> None:
    said.append((word, record.kind))


said: list[tuple[str, str]] = []


@pytest.mark.parametrize("component", [Made, maker, plain])
def test_a_logger_may_be_a_function_a_class_or_what_makes_one(component: Callable[..., Any]) -> None:
    said.clear()
    dlrun.register.logger("mine")(component)
    assert run("logger=mine", "logger.word=hello") == 0
    assert said == [("hello", kind) for kind in ("begun", "epoch", "epoch", "ended")]


def test_the_options_of_a_logger_are_checked_and_change_no_result(
    given: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("logger=mine", "logger.projekt=x") == 2
    assert "Did you mean logger.project?" in capsys.readouterr().err
    one, other, none = (dlrun.compose(words) for words in (["logger=mine"], ["logger=mine", "logger.project=q"], []))
    assert one.identity == other.identity == none.identity
    assert run("logger=mine") == 0
    assert cli.main(["resume", "a", "logger.project=q", "trainer.epochs=3"]) == 0
    assert cli.main(["resume", "a", "logger=jsonl", "trainer.epochs=4"]) == 0


def fails_at(*kinds: str) -> Callable[[Record], None]:
    def fails(record: Record) -> None:
        if record.kind in kinds:
            raise RuntimeError(f"no {record.kind} today\nand more")

    return fails


def breaks_when_made() -> Logger:
    raise SystemExit("no way")


def makes_nothing(project: str = "p") -> Any:
    return 3


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (fails_at("begun", "epoch", "ended"), "RuntimeError: no begun today"),
        (fails_at("epoch", "ended"), "RuntimeError: no epoch today"),
        (fails_at("ended"), "RuntimeError: no ended today"),
        (breaks_when_made, "SystemExit: no way"),
        (makes_nothing, "TypeError: mine returned an int, not a function of a record"),
    ],
)
def test_a_logger_that_fails_is_one_warning_and_no_end(
    component: Callable[..., Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dlrun.register.logger("mine")(component)
    assert run("logger=mine") == 0
    line = f"  warning: the logger mine failed, and is given nothing more: {words}\n"
    for text in (capsys.readouterr().out, Path("a/train.log").read_text()):
        assert text.count(line) == text.count("warning") == 1
    assert status()["state"] == "finished"
    assert len(dlrun.load_run("a").metrics) == 2


def test_a_logger_that_draws_random_numbers_changes_no_result() -> None:
    words = [*QUICK, "dataset=digits", "model.dropout=0.5"]
    plain = dlrun.train([*words, "run.dir=plain"])
    dlrun.register.logger("mine")(lambda record: torch.rand(7))
    drawn = dlrun.train([*words, "logger=mine", "run.dir=drawn"])
    assert drawn.metrics["train_loss"].tolist() == plain.metrics["train_loss"].tolist()


def killed_after_three_epochs(*words: str) -> None:
    """Leave in `a` what `kill -9` leaves after epoch 3, with a checkpoint of epoch 2."""

    def copy(row: dict[str, float]) -> bool:
        if row["epoch"] == 3:
            shutil.copytree("a", "killed")
        return False

    begin("trainer.epochs=4", "checkpoint.every_epochs=2", *words, on_epoch=copy)
    shutil.rmtree("a")
    Path("killed").rename("a")


def test_no_epoch_is_given_twice_as_new_when_a_killed_run_is_resumed(given: list[Record]) -> None:
    killed_after_three_epochs("logger=mine")
    before = given[:-2]  # what the killed process gave: no epoch 4, no end
    given.clear()
    assert cli.main(["resume", "a"]) == 0
    begun = given[0]
    assert isinstance(begun, dlrun.RunBegun)
    assert (begun.resumed, begun.id, len(begun.rows), begun.missed) == (True, before[0].id, 2, [])
    assert [record.again for record in given if record.kind == "epoch"] == [True, False]
    assert epochs([*before, *given]) == [1, 2, 3, 4]


def test_a_logger_that_is_chosen_on_resume_is_given_what_it_missed(given: list[Record]) -> None:
    assert run() == 0
    assert cli.main(["resume", "a", "logger=mine", "trainer.epochs=3"]) == 0
    assert cli.main(["resume", "a", "logger=jsonl", "trainer.epochs=4"]) == 0
    assert cli.main(["resume", "a", "logger=mine", "trainer.epochs=5"]) == 0
    assert epochs(given) == [1, 2, 3, 4, 5]
    assert len({record.id for record in given}) == 1
    assert [json.loads(line)["epoch"] for line in Path("a/metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


def test_the_end_of_a_run_that_is_stopped_or_fails_is_told(given: list[Record]) -> None:
    begin("logger=mine", on_epoch=interrupt())
    assert run("logger=mine", "run.dir=b", "optimizer=sgd", "optimizer.lr=1e30") == 4
    ends = [record for record in given if record.kind == "ended"]
    assert [(record.state, record.summary) for record in ends] == [("interrupted", {}), ("failed", {})]


@pytest.mark.usefixtures("figures")
def test_tensorboard_holds_everything_once_after_a_kill() -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    killed_after_three_epochs("logger=tensorboard")
    assert cli.main(["resume", "a"]) == 0
    events = accumulator.EventAccumulator("a/tensorboard").Reload()
    rows = dlrun.load_run("a").metrics
    logged = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert logged == [(step, pytest.approx(loss)) for step, loss in zip(rows["step"], rows["train_loss"], strict=True)]
    assert set(events.Tags()["images"]) == {"curves", "confusion"}
    assert "test_accuracy" in events.Tags()["scalars"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert len(list(Path("a/tensorboard").rglob("*"))) == len(list(Path("a/tensorboard").iterdir())), "another run"


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_package_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dlrun.run.preflight.find_spec", lambda name: None)
    assert run(f"logger={name}") == 2
    assert f"logger: {name} is not installed. Run `pip install 'dlrun[{name}]'`." in capsys.readouterr().err
    assert not Path("a").exists()


def test_a_run_without_a_logger_leaves_no_file_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "make_logger", None)  # would be an error
    config = dlrun.compose([*QUICK, "run.dir=a"])
    assert train(config).exit_code == 0
    assert not Path("a/logged.csv").exists()
    assert "warning" not in Path("a/train.log").read_text()

"""How a run ends that does not finish: exceptions of users and of ours, signals, places given back."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import dlrun
from dlrun import cli
from dlrun.report.compare import compare
from dlrun.run import initial, runner, screen, session
from dlrun.run.context import LoadInitial, RunContext
from dlrun.run.screen import Screen
from dlrun.store import checkpoint
from dlrun.store.failure import Failure
from tests.helpers.quick_runs import QUICK, begin, interrupt, no_space, run, status

pytestmark = pytest.mark.usefixtures("quick")


PLUGIN = """
import dlrun, torch, sys
from helper import Net, Worse

@dlrun.register.model("mine")
def mine(spec, fault: str = "none"):
    if fault == "build":
        raise KeyError("my mistake")
    if fault == "exit":
        sys.exit("my mistake")
    if fault == "memory":
        raise MemoryError("my mistake")
    return Net(spec, fault)
"""
HELPER = """
import torch

class Worse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient[:1]

class Net(torch.nn.Module):
    def __init__(self, spec, fault):
        super().__init__()
        self.fc, self.fault = torch.nn.Linear(64, spec.num_outputs), fault

    def forward(self, x):
        y = self.fc(x.flatten(1))
        if self.training and self.fault == "forward":
            raise KeyError("my mistake: column 3 is not finite, training diverged")
        if self.training and self.fault == "quit":
            raise SystemExit("my mistake")
        if self.training and self.fault in ("interrupt", "leave"):
            raise {"interrupt": KeyboardInterrupt, "leave": GeneratorExit}[self.fault]("my mistake")
        if self.training and self.fault == "oom":
            raise torch.OutOfMemoryError("my mistake")
        if self.training and self.fault == "backward":
            y = Worse.apply(y)
        if self.training and self.fault == "in place":
            z = y.exp()
            y = z * 2
            z.add_(1)
        return y
"""


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(Path.cwd())
    Path("mine.py").write_text(PLUGIN)
    Path("helper.py").write_text(HELPER)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return ["plugins=[mine.py]", "model=mine"]


@pytest.mark.parametrize(
    "fault", ["build", "exit", "forward", "quit", "interrupt", "leave", "backward", "in place", "memory", "oom"]
)
def test_an_exception_of_the_users_is_theirs(fault: str, mine: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*mine, f"model.fault={fault}") == 4
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert "bug of dlrun" not in text
    if fault in ("memory", "oom"):
        assert "out of memory" in text
    elif fault not in ("backward", "in place"):
        assert "my mistake" in text
        assert "runner.py" not in text, "the traceback begins in the user's file"
    if fault in ("build", "exit", "memory"):
        assert not Path("a").exists()
    else:
        kind = "out_of_memory" if fault == "oom" else "component"
        assert [(job.failure and job.failure.kind, job.diverged) for job in compare(["a"]).jobs] == [(kind, False)]
        assert (status()["state"], status()["kind"], status()["exit_code"]) == ("failed", kind, 4)


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dlrun.run.recorder.Recorder.epoch", lambda *_: 1 / 0)
    assert run() == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (status()["state"], status()["kind"], status()["exit_code"]) == ("failed", "bug", 1)
    assert "ZeroDivisionError" in status()["traceback"]
    assert "ZeroDivisionError" in Path("a/train.log").read_text()


def test_a_later_success_forgets_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_last", no_space)
        assert run() == 4
    assert status()["kind"] == "disk_full"
    assert cli.main(["resume", "a"]) == 0
    assert [status()[key] for key in ("state", "kind", "error", "traceback")] == ["finished", None, None, None]


def test_a_logger_that_is_not_installed_is_found_before_a_directory_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dlrun.run.preflight.find_spec", lambda name: None)
    assert run("logger=tensorboard") == 2
    assert "pip install 'dlrun[tensorboard]'" in capsys.readouterr().err
    assert not Path("a").exists()


def test_a_run_that_fails_before_its_first_checkpoint_gives_the_place_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("seed=1") == 0
    words = ["run.overwrite=true", "optimizer=sgd", "optimizer.lr=1e30"]
    assert run(*words) == 4
    assert "The run that it was to replace is back" in capsys.readouterr().out
    assert dlrun.load_run("a").config.seed == 1
    assert not Path("a/crash.pt").exists(), "a capsule of the new run in the old one's directory"


@pytest.mark.parametrize("words", [[], ["device.fast=false"], ["optimizer=sgd"]], ids=" ".join)
def test_a_rate_beyond_floats_diverges(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("optimizer=adam", "optimizer.lr=3e38", *words) == 4
    assert "training diverged. Try a smaller optimizer.lr" in capsys.readouterr().out
    assert status()["kind"] == "diverged"


def test_a_signal_before_the_first_checkpoint_gives_the_place_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("seed=1") == 0
    monkeypatch.setattr("dlrun.run.opening.print_header", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert run("run.overwrite=true") == 143
    assert "the run that was here is back" in capsys.readouterr().out
    assert dlrun.load_run("a").config.seed == 1


def test_a_signal_while_the_components_are_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(*_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception:  # as careless code does
            return

    monkeypatch.setattr("dlrun.assembly.assemble.build_data", slow)
    assert run() == 130
    assert "before training began" in capsys.readouterr().out
    assert not Path("a").exists()


def test_the_second_signal_disturbs_nothing_that_the_first_began(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = session.Session.interrupted

    def interrupted(self: session.Session) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return ordinary(self)

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "interrupted", interrupted)
        patch.setattr("dlrun.run.opening.print_header", lambda _: os.kill(os.getpid(), signal.SIGTERM))
        assert begin().exit_code == 143
    assert (status()["state"], status()["kind"]) == ("interrupted", "signal")
    assert begin().exit_code == 0


def test_ctrl_c_in_the_experiment_that_a_run_starts_from_keeps_both(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = runner.train

    def stopped(config: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT) if "on_epoch" in options else None
        return ordinary(config, **options, on_epoch=interrupt(signal.SIGINT))

    monkeypatch.setattr(runner, "train", stopped)
    config = dlrun.compose([*QUICK, "run.dir=a", "init_from=experiment:logistic_regression", "model=mlp"])
    outcome = ordinary(config, screen=Screen(silent=True, terminal=False))
    assert outcome.exit_code == 130
    assert status()["state"] == "interrupted"
    assert (Path("a") / initial.INIT / "checkpoints" / "last.pt").exists()


def test_the_library_raises_keyboard_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.run.opening.print_header", lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        dlrun.train([*QUICK, "run.dir=a"])


def test_the_search_for_the_step_can_be_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ordinary = session.keep_step

    def impatient(context: RunContext, failure: Failure, load_initial: LoadInitial) -> None:
        line = context.screen.line

        def then_a_signal(text: str, **options: Any) -> None:
            line(text, **options)
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(context.screen, "line", then_a_signal)
        ordinary(context, failure, load_initial)

    monkeypatch.setattr(session, "keep_step", impatient)
    assert run("optimizer=sgd", "optimizer.lr=1e30") == 4
    assert status()["kind"] == "diverged"
    assert "Looking for the step" in capsys.readouterr().out
    assert not Path("a/crash.pt").exists()


def test_colours_only_where_they_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert screen.painted("x", "red") == "\033[31mx\033[0m"
    monkeypatch.setenv("TERM", "dumb")
    assert screen.painted("x", "red") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen.painted("x", "red") == "x"

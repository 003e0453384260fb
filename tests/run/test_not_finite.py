"""A run never ends well with weights or a monitored metric that are not finite, and says how to look into it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.run import runner
from dlrun.run.screen import Screen
from dlrun.store import checkpoint
from tests.helpers.quick_runs import QUICK, begin, interrupt, status

pytestmark = pytest.mark.usefixtures("quick")

PLUGIN = """
import torch, dlrun

class Net(torch.nn.Module):
    def __init__(self, spec, bad_step, bad_evaluation):
        super().__init__()
        self.fc, self.steps = torch.nn.Linear(64, spec.num_outputs), 0
        self.bad_step, self.bad_evaluation = bad_step, bad_evaluation

    def forward(self, x):
        y = self.fc(x.flatten(1))
        if not self.training:
            return y * float("nan") if self.bad_evaluation else y
        self.steps += 1
        if self.steps == self.bad_step:
            y.register_hook(lambda gradient: gradient * float("nan"))
        return y

@dlrun.register.model("mine")
def mine(spec, bad_step: int = 0, bad_evaluation: bool = False):
    return Net(spec, bad_step, bad_evaluation)
"""
MINE = ["plugins=[mine.py]", "model=mine", "run.dir=a", *QUICK]


@pytest.fixture(autouse=True)
def plugin(quick: None) -> None:
    Path("mine.py").write_text(PLUGIN)


def test_gradients_that_are_nan_in_the_last_step_fail_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*MINE, "model.bad_step=8", "checkpoint.every_epochs=1"]) == 4  # two epochs of four batches
    printed = capsys.readouterr().out
    assert "after step 8 the weights are not finite (fc.weight and 1 more): training diverged. Try" in printed
    assert (status()["state"], status()["kind"]) == ("failed", "diverged")
    weights = checkpoint.read_checkpoint(Path("a/checkpoints/last.pt"))["model"]
    assert all(torch.isfinite(value).all() for value in weights.values()), "the last good checkpoint stays"


def test_the_step_is_kept_and_the_command_that_replays_it_names_the_plug_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*MINE, "model.bad_step=8"]) == 4
    printed = capsys.readouterr().out
    found = re.search(r"The step is kept in crash\.pt: `dlrun (.*)` runs it again and names the layer", printed)
    assert found is not None
    assert shlex.split(found[1]) == ["replay", "a", "--plugin", "mine.py"]
    assert cli.main(shlex.split(found[1])) == 0
    assert "step 8 (epoch 2): the gradient of fc.weight is not finite" in capsys.readouterr().out


def test_the_command_that_goes_on_names_the_plug_in(capsys: pytest.CaptureFixture[str]) -> None:
    runner.train(dlrun.compose(MINE), screen=Screen(terminal=False), on_epoch=interrupt())
    assert "Go on with:  dlrun resume a --plugin mine.py" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "advised"), [([], True), (["trainer.clip_norm=1"], False)])
def test_only_what_is_not_set_is_advised(words: list[str], advised: bool) -> None:
    assert begin("optimizer=sgd", "optimizer.lr=1e30", *words).exit_code == 4
    assert ("trainer.clip_norm=1" in status()["error"]) is advised
    assert "Try a smaller optimizer.lr" in status()["error"]


def test_a_weight_that_the_optimizer_spoils_is_found() -> None:
    """The gradients are finite, and there is no further step whose loss would show it."""
    words = ["optimizer=adam", "optimizer.eps=1e-300", "trainer.epochs=1", "trainer.max_steps=1"]  # black pixels: 0 / 0
    assert begin(*words).exit_code == 4
    assert "after step 1 the weights are not finite" in status()["error"]
    assert "not finite" in checkpoint.read_checkpoint(Path("a/crash.pt"))["reason"]


def test_a_monitored_metric_that_is_nan_in_every_epoch_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*MINE, "model.bad_evaluation=true"]) == 4
    assert "val_loss was nan in every epoch" in capsys.readouterr().out
    assert (status()["state"], status()["kind"]) == ("failed", "diverged")
    assert not Path("a/crash.pt").exists()

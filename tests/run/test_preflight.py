"""What is checked before a run begins: every problem at once, nothing written, and nothing of the trial left over."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dlrun
from dlrun.errors import ConfigError
from dlrun.run import preflight
from dlrun.run.build import build
from dlrun.spec import DataSpec
from tests.helpers.quick_runs import run

pytestmark = pytest.mark.usefixtures("quick")

ENDS_WITH_ONE = ("dataset=digits", "trainer.batch_size=383")  # 1,150 rows
CPU = ("device=cpu", "device.threads=1", "trainer.epochs=1", "trainer.max_batches=null")


class Own(nn.Module):
    """A model with a fault that shows in training mode alone."""

    def __init__(self, spec: DataSpec, kind: str) -> None:
        super().__init__()
        self.kind, self.calls = kind, 0
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, spec.num_outputs)
        norms: dict[str, nn.Module] = {"no_affine": nn.BatchNorm1d(4, affine=False), "long": nn.BatchNorm1d(4)}
        norms |= {"pooled": nn.BatchNorm2d(4), "locked": nn.BatchNorm2d(4)}
        self.lock = threading.Lock() if kind == "locked" else None
        self.norm = norms.get(kind, nn.Identity())

    def forward(self, x: Tensor) -> Any:
        """(N, 1, H, W) to (N, K)."""
        self.calls += 1
        y = self.conv(x)  # (N, 4, H - 2, W - 2)
        if self.kind == "long":
            return self.head(self.norm(y.flatten(2)).mean(2))
        y = y.mean((2, 3), keepdim=True)
        y = self.norm(y) if self.kind in ("pooled", "locked") else y.flatten(1)
        y = self.norm(y) if self.kind == "no_affine" else y
        if self.kind == "squeezed":
            y = y.reshape(len(x), 4).squeeze()
        y = self.head(y.flatten(1) if self.kind != "squeezed" else y)
        return (y, y) if self.training and self.kind == "tuple" else y


@pytest.fixture
def model() -> Any:
    text = """
import dlrun
from tests.run.test_preflight import Own

@dlrun.register.model("own")
def own(spec, kind: str = "plain"):
    return Own(spec, kind)
"""
    Path("own.py").write_text(text)
    return lambda kind, *words: [*CPU, *ENDS_WITH_ONE, "plugins=[own.py]", "model=own", f"model.kind={kind}", *words]


def problems(*words: str) -> list[str]:
    """The keys that a run of these words is refused for."""
    with pytest.raises(ConfigError) as refused:
        build(dlrun.compose(list(words)))
    return [problem.key for problem in refused.value.problems]


@pytest.mark.parametrize(
    "words",
    [("model=googlenet",), ("model=torchvision", "model.arch=resnet18"), ("model=mlp", "model.batch_norm=true")],
)
def test_a_last_batch_of_one_is_refused_where_the_model_cannot_be_trained_on_it(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*CPU, *ENDS_WITH_ONE, *words) == 2
    text = capsys.readouterr().err
    assert "trainer.batch_size: 1,150 samples in batches of 383 end with a batch of one" in text
    assert "Traceback" not in text
    assert not Path("a").exists()


def test_batches_of_one_are_refused_for_batch_norm_over_rows_and_allowed_over_pixels() -> None:
    words = (*CPU, "dataset=digits", "trainer.batch_size=1", "trainer.max_steps=2", "model.batch_norm=true")
    assert problems(*words, "model=mlp") == ["trainer.batch_size"]
    build(dlrun.compose([*words, "model=cnn"]))


@pytest.mark.parametrize("kind", ["pooled", "no_affine", "squeezed"])
def test_a_users_model_is_tried_on_the_smallest_batch(kind: str, model: Any) -> None:
    assert problems(*model(kind)) == ["trainer.batch_size"]
    build(dlrun.compose(model(kind, "trainer.batch_size=575")))  # two whole batches


@pytest.mark.parametrize("kind", ["long", "plain"])
def test_a_last_batch_of_one_is_allowed_where_the_model_can_be_trained_on_it(kind: str, model: Any) -> None:
    assert run(*model(kind)) == 0


def test_a_frozen_batch_norm_can_have_a_batch_of_one(model: Any) -> None:
    words = ("model=mlp", "model.hidden=[8]", "model.batch_norm=true", "freeze=['body.*']")
    assert run(*CPU, *ENDS_WITH_ONE, *words) == 0


def test_a_batch_size_of_one_is_refused_as_well(model: Any) -> None:
    assert problems(*model("pooled", "trainer.batch_size=1")) == ["trainer.batch_size"]


def test_a_tuple_in_training_mode_is_found_before_anything_is_written(
    model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*model("tuple", "trainer.batch_size=64")) == 2
    text = capsys.readouterr().err
    assert "model: own returns a tuple in training mode, not a tensor." in text
    assert not Path("a").exists()


def test_all_problems_are_told_at_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    words = ("logger=tensorboard", "checkpoint.monitor=val_fun", "device.compile=true", "trainer.detect_anomaly=true")
    assert problems(*model("tuple", *words)) == ["logger", "device.compile", "checkpoint.monitor", "model"]


def test_the_trial_leaves_nothing_behind(model: Any) -> None:
    """Weights, statistics, counters and gradients are those of a model that was only looked at in eval mode."""
    state = build(dlrun.compose(model("pooled", "trainer.batch_size=575"))).state
    assert isinstance(state.model, Own)
    assert state.model.calls == 1
    assert torch.equal(state.model.norm.running_mean, torch.zeros(4))
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_a_model_that_cannot_be_copied_is_left_to_training(model: Any) -> None:
    build(dlrun.compose(model("locked")))

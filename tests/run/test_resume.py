"""Resuming, in one process: stopped after any batch, in the middle of anything, a run ends as if it had gone on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlrun
from dlrun.run import runner
from dlrun.run.screen import Screen
from dlrun.run.signals import Signals
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from tests.helpers.cases import slow_where
from tests.helpers.killing import assert_equal_runs

LIFE = ["device=cpu", "device.threads=1", "checkpoint.every_minutes=null"]
CASES = {
    "regression, whose sums are of floats": ["dataset=diabetes", "trainer.epochs=3"],
    "plateau and early stopping": [
        "optimizer=sgd", "optimizer.lr=0.5", "scheduler=plateau", "scheduler.patience=1", "trainer.epochs=12",
        "model.hidden=[64,64]", "trainer.max_batches=8",
        "trainer.early_stop.patience=3", "trainer.early_stop.min_delta=0.05",
    ],
    "lbfgs": ["dataset=parabola", "model.hidden=[8]", "optimizer=lbfgs", "trainer.epochs=2", "trainer.batch_size=200"],
    "half precision, whose gradients are scaled": ["device.precision=fp16", "trainer.epochs=2", "model.dropout=0.3"],
    "bfloat16, max_steps in an epoch": ["device.precision=bf16", "trainer.epochs=4", "trainer.max_steps=31"],
    "accumulation over a short last batch, cosine": [
        "trainer.accumulate=4", "trainer.batch_size=100", "trainer.epochs=4", "trainer.clip_norm=0.5",
        "model=cnn", "model.channels=[4]", "model.batch_norm=true", "scheduler=cosine",
    ],
    "one batch for ever": ["trainer=overfit_one_batch", "trainer.epochs=9", "model.dropout=0.1"],
    "few batches, the plain step": ["trainer.max_batches=5", "trainer.epochs=4", "device.fast=false"],
    "evaluation now and then, one cycle": ["trainer.eval_every=3", "trainer.epochs=4", "scheduler=onecycle"],
    "names, anomaly detection": [
        "dataset=names", "dataset.source=builtin", "model=gru", "trainer.max_batches=3", "trainer.epochs=2",
        "trainer.detect_anomaly=true", "model.dropout=0.2", "model.num_layers=2", "model.hidden_size=8",
        "trainer.batch_size=16",
    ],
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`stop_after(n)`: from then on, runs see a SIGTERM when they ask for the n-th time whether there is one."""
    limits = {"after": 10**9, "asked": 0}
    ordinary = Signals.stop

    def stop(self: Signals) -> bool:
        limits["asked"] += 1
        if limits["asked"] >= limits["after"]:
            self.number = 15
        return ordinary(self)

    monkeypatch.setattr(Signals, "stop", stop)

    def set_limit(after: int) -> None:
        limits.update(after=after, asked=0)

    return set_limit


def train(words: list[str], place: str, **options: Any) -> runner.Outcome:
    config = dlrun.compose([*LIFE, *words, f"run.dir={place}", "resume=auto"])
    return runner.train(config, screen=Screen(silent=True, terminal=False), **options)


LONG = ("regression", "bfloat16", "one batch", "few batches", "names")


@pytest.mark.parametrize("case", slow_where(lambda case: case.startswith(LONG), CASES))
def test_stopped_again_and_again_it_ends_the_same(case: str, stop_after: Any) -> None:
    words = CASES[case]
    assert train(words, "whole").exit_code == 0
    for stops in range(100):
        stop_after(7 + stops % 4)
        outcome = train(words, "broken")
        if outcome.exit_code == 0:
            break
        assert outcome.exit_code == 143
        assert read_json(Path("broken/status.json"))["state"] == "interrupted"
    assert 0 < stops < 99
    assert_equal_runs(RunDir("whole"), RunDir("broken"))
    first, second = (read_json(Path(place) / "summary.json") for place in ("whole", "broken"))
    for part in ("best", "last", "test"):
        assert timeless(first.get(part)) == timeless(second.get(part))


def timeless(values: dict[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (values or {}).items() if k not in ("epoch_seconds", "samples_per_second")}

"""Which way a metric is better: declared by the metric, kept in the run, and read there by all that rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import dlrun
from dlrun.components.registry import METRICS
from dlrun.errors import ConfigError
from dlrun.objectives.declared import directions
from dlrun.objectives.metrics import metric_for
from dlrun.objectives.schedule import Schedule
from dlrun.run.runner import train
from dlrun.run.screen import Screen
from dlrun.spec import DataSpec
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.store.scales import column_bounds
from tests.helpers.quick_runs import interrupt
from tests.helpers.runs_by_hand import make_run

WORDS = [
    "dataset=diabetes",
    "model=linear",
    "device=cpu",
    "trainer.batch_size=full",
    "trainer.eval_every=1",
    "run.dir=a",
]


class Rmse:
    """The root of the mean squared error."""

    names = ("rmse",)

    def __init__(self, spec: Any, loss: Any) -> None:
        pass

    def counts(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.stack([(output - target).square().sum(), torch.tensor(float(target.numel()))])

    def result(self, counts: torch.Tensor) -> dict[str, float]:
        return {"rmse": float(counts[0] / counts[1]) ** 0.5}


class DeclaredRmse(Rmse):
    better: ClassVar = {"rmse": "min"}
    bounds: ClassVar = {"rmse": (0, None)}


@pytest.fixture(autouse=True)
def folder(quick: None) -> None:
    """Each test in a folder of its own."""


def test_a_metric_of_ones_own_selects_stops_and_steps_the_schedule_its_way() -> None:
    """A learning rate that makes everything worse from epoch to epoch, and one that makes it better."""
    dlrun.register.metric("rmse")(DeclaredRmse)
    words = [*WORDS, "checkpoint.monitor=val_rmse", "optimizer=sgd", "scheduler=plateau", "scheduler.patience=1"]
    words += ["trainer.epochs=12", "trainer.early_stop.patience=3"]
    rising = dlrun.train([*words, "optimizer.lr=1.5"])
    values = rising.metrics["val_rmse"].tolist()
    assert min(values) == values[0], "it is worse from the second epoch on"
    assert rising.summary["best"]["epoch"] == 1
    assert len(values) == 4, "three epochs without improvement end it"
    assert rising.metrics["lr"].tolist() == pytest.approx([1.5, 1.5, 1.5, 0.15])
    falling = dlrun.train([*words, "optimizer.lr=0.05", "run.dir=b"])
    assert falling.summary["best"]["epoch"] == 12
    assert set(falling.metrics["lr"]) == {0.05}
    assert falling.summary["better"] == {"loss": "min", "mae": "min", "r2": "max", "rmse": "min"}
    assert falling.summary["bounds"] == {"loss": [0, None], "mae": [0, None], "r2": [None, 1], "rmse": [0, None]}
    assert StoredRun("a").bounds("val_rmse") == StoredRun("b").bounds("test_loss") == (0, None)
    assert "selects val_rmse (min)" in Path("a/train.log").read_text()


def test_a_monitored_metric_that_does_not_say_is_refused_before_anything_is_written() -> None:
    dlrun.register.metric("rmse")(Rmse)
    with pytest.raises(ConfigError, match=r"^checkpoint\.mode: the metric 'rmse' does not say which way is better"):
        dlrun.train([*WORDS, "checkpoint.monitor=val_rmse"])
    assert not Path("a").exists()
    run = dlrun.train([*WORDS, "checkpoint.monitor=val_rmse", "checkpoint.mode=min", "trainer.epochs=1"])
    assert run.summary["mode"] == "min"
    assert "rmse" not in run.summary["better"]
    other = dlrun.train([*WORDS, "run.dir=b", "trainer.epochs=1"])
    assert "val_rmse" in other.metrics, "it is shown all the same"


@pytest.mark.parametrize("better", [{"rsme": "min"}, {"rmse": "less"}, "min"])
def test_a_declaration_that_is_wrong_is_refused(better: Any) -> None:
    dlrun.register.metric("rmse")(type("Wrong", (Rmse,), {"better": better}))
    with pytest.raises(ConfigError, match=r"Wrong\.better is .* names among rmse"):
        dlrun.train(WORDS)


@pytest.mark.parametrize("declared", [{"rsme": (0, 1)}, {"rmse": 0}, {"rmse": (1, 0)}, {"rmse": (0, "1")}, "0"])
def test_bounds_that_are_wrong_are_refused(declared: Any) -> None:
    dlrun.register.metric("rmse")(type("Wrong", (Rmse,), {"bounds": declared}))
    with pytest.raises(ConfigError, match=r"Wrong\.bounds is .* names among rmse"):
        dlrun.train(WORDS)


def test_bounds_of_runs_that_do_not_declare_them_go_by_the_name() -> None:
    assert [column_bounds({}, f"val_{name}") for name in ("loss", "macro_f1", "r2", "psnr")] == [
        (0.0, None), (0.0, 1.0), (None, 1.0), (None, None)
    ]  # fmt: skip
    declared = {"bounds": {"loss": None, "psnr": [0, None], "odd": ["a", float("nan")]}}
    assert [column_bounds(declared, f"val_{name}") for name in ("loss", "psnr", "odd", "new")] == [
        (None, None), (0, None), (None, None), (None, None)
    ]  # fmt: skip


def test_no_metric_may_take_the_name_of_the_loss() -> None:
    dlrun.register.metric("loss")(type("Named", (Rmse,), {"names": ("loss",)}))
    with pytest.raises(ConfigError, match="two metrics are named 'loss'"):
        dlrun.train(WORDS)


@pytest.mark.parametrize(("task", "outputs"), [
    ("classification", 3), ("multilabel", 3), ("regression", 1), ("reconstruction", 1), ("labelling", 3)
])  # fmt: skip
def test_every_metric_of_ours_says(task: Any, outputs: int) -> None:
    spec = DataSpec("d", task, "tabular", (4,), outputs)
    metric = METRICS.get(metric_for(spec))(spec, None)
    assert set(directions(metric)) == {"loss", *metric.names}


def test_a_plateau_schedule_is_stepped_by_evaluations_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in epochs without evaluation, whose missing value it would take for no improvement."""
    seen = []
    step = Schedule.step
    monkeypatch.setattr(Schedule, "step", lambda self, metric=None: (seen.append(metric), step(self, metric)))
    words = ["scheduler=plateau", "scheduler.patience=1", "trainer.epochs=7", "trainer.eval_every=3"]
    run = dlrun.train([word for word in WORDS if "eval_every" not in word] + words)
    evaluated = run.metrics["val_loss"].dropna()
    assert seen == evaluated.tolist()
    assert len(seen) == 3
    assert set(run.metrics["lr"]) == {run.metrics["lr"].iloc[0]}


def test_runs_that_do_not_say_are_read_by_the_names(tmp_path: Path) -> None:
    old = StoredRun(make_run(tmp_path / "old"))
    assert old.direction("val_accuracy") == "max"
    assert old.direction("val_rmse") == "min"


def test_an_unfinished_run_says_it_too(tmp_path: Path) -> None:
    path = make_run(tmp_path / "new", state="interrupted")
    facts = {"auto": {"checkpoint.monitor": "val_psnr", "checkpoint.mode": "max"}, "better": {"psnr": "max"}}
    (path / "environment.json").write_text(json.dumps(facts))
    (path / "summary.json").unlink()
    run = StoredRun(path)
    assert (run.monitor, run.mode, run.direction("test_psnr")) == ("val_psnr", "max", "max")
    assert run.direction("val_accuracy") is None, "its metric does not say"


def test_a_resumed_run_chooses_anew_where_the_direction_changed() -> None:
    """A metric that declares nothing was taken for `more is better` by its name; now it says otherwise."""
    dlrun.register.metric("rmse")(DeclaredRmse)
    words = [
        *WORDS,
        "checkpoint.monitor=val_rmse",
        "trainer.epochs=4",
        "optimizer.lr=0.05",
        "checkpoint.every_epochs=1",
    ]
    config = dlrun.compose([*words, "resume=auto"])
    train(config, on_epoch=lambda row: row["epoch"] == 2 and interrupt()(row))
    facts = read_json(Path("a/environment.json"))
    facts["auto"]["checkpoint.mode"] = "max"
    Path("a/environment.json").write_text(json.dumps(facts))
    train(config, screen=Screen(silent=True))
    assert "the best epoch is chosen anew from here on, by val_rmse" in Path("a/train.log").read_text()

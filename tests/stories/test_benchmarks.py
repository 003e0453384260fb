"""The benchmark is fair: dlrun and the others train on as much of the same data, by the same clock."""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import dlrun
from dlrun.run.build import build
from tests.helpers.deadline import deadline

HERE = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmark, and forgets it afterwards."""
    monkeypatch.syspath_prepend(HERE)

    def load(name: str) -> Any:
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return load


def test_digits_have_as_many_rows_for_all(bench: Any, tmp_path: Path) -> None:
    theirs = bench("tasks").Task("digits_mlp", 64, None, tmp_path).dataset()
    ours = build(dlrun.compose(bench("process").WORDS["digits_mlp"].split())).batches["train"]
    assert ours.samples == len(theirs) == 1438


@pytest.mark.parametrize("name", ["digits_mlp", "mnist_mlp", "mnist_cnn"])
def test_models_have_the_same_weights(name: str, bench: Any, mnist_root: Path) -> None:
    theirs = bench("tasks").Task(name, 64, None, mnist_root).model()
    words = bench("process").WORDS[name].format(limit=64).split()
    root = [f"dataset.root={mnist_root}"] if name != "digits_mlp" else []
    ours = build(dlrun.compose([*words, *root])).state.model
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_mlp", "mnist_cnn"])
def test_images_are_normalised_alike(name: str, bench: Any, mnist_root: Path) -> None:
    theirs = bench("tasks").Task(name, 64, 10, mnist_root).dataset()
    words = bench("process").WORDS[name].format(limit=10).split()
    built = build(dlrun.compose([*words, f"dataset.root={mnist_root}", "trainer.shuffle=false"]))
    batch = next(iter(built.batches["train"].epoch(0)))
    assert torch.allclose(batch.inputs[0][:10], torch.stack([theirs[i][0] for i in range(10)]))


def test_names_come_from_the_same_file(bench: Any, tmp_path: Path) -> None:
    """The tutorial's own files, though they are there, are of more names."""
    folder = tmp_path / "names"
    folder.mkdir()
    for part, rows in (("train", 60), ("test", 20)):
        text = "".join(f"{'abcdefghij'[i % 10]}o,{'Czech' if i % 2 else 'Greek'}\n" for i in range(rows))
        (folder / f"names_{part}.csv.gz").write_bytes(gzip.compress(text.encode()))
    for country in ("Czech", "Greek"):
        (folder / f"{country}.txt").write_text("Novak\n" * 100)
    theirs = bench("tasks").Task("names_gru", 256, None, tmp_path).dataset()
    words = bench("process").WORDS["names_gru"].split()
    ours = build(dlrun.compose([*words, f"dataset.root={tmp_path}"])).batches["train"]
    assert ours.samples == len(theirs) == 60


def test_the_speed_is_the_median_of_the_later_epochs(bench: Any) -> None:
    result = bench("process").Result
    assert result([1.0, 20.0, 30.0]).speed == 25.0
    assert result([1.0, 20.0, 90.0, 30.0]).speed == 30.0
    assert result([7.0]).speed == 7.0
    assert result().speed is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`time.perf_counter`, set by hand."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: now.seconds)
    return now


def test_what_dlrun_does_between_epochs_counts_but_not_evaluation(bench: Any, clock: Any) -> None:
    class Record(SimpleNamespace): ...

    def fit(epochs: int) -> Any:
        for _ in range(epochs):
            clock.seconds += 7.0  # 4 of training, 3 of evaluation
            yield Record(row={"samples_per_second": 25.0}, seconds={"train": 4.0, "eval": 3.0})

    notes = bench("noted").Notes()
    module: dict[str, Any] = {"fit": fit, "EpochRecord": Record}
    notes.loop(module)
    for _ in module["fit"](3):
        clock.seconds += 1.0  # a row is written
    assert notes.speeds == [25.0, 20.0, 20.0]


def test_what_a_peer_does_between_epochs_counts(bench: Any, clock: Any) -> None:
    watch = bench("tasks").Clock()
    for _ in range(3):
        watch.start()
        clock.seconds += 4.0
        watch.stop(100)
        clock.seconds += 1.0
    assert watch.speeds == [25.0, 20.0, 20.0]


@pytest.mark.slow
def test_a_run_is_noted_from_outside(tmp_path: Path) -> None:
    words = ["trainer=smoke", "trainer.epochs=3", "device=cpu", "checkpoint.every_epochs=1", "run.dir=run"]
    command = [sys.executable, str(HERE / "noted.py"), "note", *words]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=deadline(120))
    notes = json.loads((tmp_path / "note").read_text())
    assert notes["first"] > 0
    assert len(notes["speeds"]) == 3
    assert len(notes["saves"]) >= 3


@pytest.mark.slow
def test_a_build_of_torch_is_named(bench: Any) -> None:
    said = bench("bench").versions(sys.executable)
    assert f"torch {torch.__version__} (" in said
    assert " build of " in said
    assert bench("bench").versions("/nowhere/python") == "versions unknown"


def test_a_plain_sweep_trains_the_same_model_on_as_many_rows(bench: Any, tmp_path: Path) -> None:
    plain = bench("plain_sweep")
    ours = build(dlrun.compose(["device=cpu"]))
    assert {name: part.samples for name, part in ours.data.parts().items()} == plain.ROWS
    assert ours.batches["train"].batch_size == plain.BATCH
    assert [p.shape for p in plain.model().parameters()] == [p.shape for p in ours.state.model.parameters()]
    for name in plain.OPTIMIZERS:
        theirs = plain.make_optimizer(name, plain.model(), 0.1).defaults
        same = build(dlrun.compose(["device=cpu", f"optimizer={name}", "optimizer.lr=0.1"])).state.optimizer.defaults
        assert [theirs[key] for key in ("lr", "weight_decay")] == [same[key] for key in ("lr", "weight_decay")]
        assert theirs.get("momentum") == same.get("momentum")
    assert 0 < plain.train("momentum", 0.03, 0, 1, tmp_path / "a") <= 1
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"best.pt", "metrics.csv", "accuracy.json"}


def test_a_table_of_sweeps_compares_with_the_first(bench: Any) -> None:
    sweep = bench("sweep_cost")
    costs = {"dlrun": [sweep.Cost(8.0, 8.4)], "other": [sweep.Cost(16.0, 16.8), sweep.Cost(16.0, 33.6)]}
    assert list(sweep.lines(costs))[2:] == [
        "| dlrun | 8.0 | 0.100 | 1.00 | 1.00 |",
        "| other | 16.0 | 0.300 | 2.00 | 3.00 |",
    ]
    said = sweep.further([sweep.Cost(8.0, 8.4, 4.2)], [sweep.Cost(4.0, 2.8)])
    assert said.startswith(
        "A further run without figures costs dlrun 0.100 s of CPU; training and evaluation take 0.050 s"
    )

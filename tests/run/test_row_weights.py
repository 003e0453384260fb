"""Row weights: a row of weight 2 counts as two rows, one of weight 0 as none, in loss, metrics and baselines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score
from torch import Tensor

import dlrun
from dlrun import cli
from dlrun.data.base import Loading, Split, from_parts
from dlrun.data.baseline import baseline
from dlrun.data.batches import batches_for
from dlrun.data.table.table import table
from dlrun.engine.evaluation import total_of
from dlrun.errors import ConfigError, DataError
from dlrun.objectives.collection import MetricCollection
from dlrun.objectives.loss import Loss, denominator_of, loss_of
from dlrun.objectives.losses import ClassLoss, bce, bce_with_logits, cross_entropy, huber, mae, mse, nll
from dlrun.objectives.metrics import Classification, Multilabel, Regression
from dlrun.spec import Batch, DataSpec

N, C, K = 12, 3, 2
random = torch.Generator().manual_seed(0)
REPEATS = torch.tensor([2, 0, 1, 3, 1, 1, 0, 2, 1, 4, 1, 1])
LOGITS, NUMBERS = torch.randn(N, C, generator=random), torch.randn(N, K, generator=random)
CLASSES, VALUES = torch.randint(C, (N,), generator=random), torch.randn(N, K, generator=random) + 5
LABELS = (torch.randn(N, K, generator=random) > 0).float()
UNKNOWN = LABELS.clone().index_fill_(0, torch.tensor([3]), -1)
BINARY = LABELS[:, :1]
CASES: dict[str, tuple[Callable[..., Loss], Tensor, Tensor, dict[str, Any]]] = {
    "mse": (mse, NUMBERS, VALUES, {}),
    "mae": (mae, NUMBERS, VALUES, {}),
    "huber": (huber, NUMBERS, VALUES, {"delta": 0.5}),
    "cross_entropy": (cross_entropy, LOGITS, CLASSES, {}),
    "class weights": (cross_entropy, LOGITS, CLASSES, {"weight": [0.5, 1.0, 3.0], "label_smoothing": 0.1}),
    "nll": (nll, LOGITS.log_softmax(1), CLASSES, {"ignore_index": 0}),
    "bce": (bce, NUMBERS.sigmoid(), LABELS, {}),
    "bce_with_logits": (bce_with_logits, NUMBERS, LABELS, {"pos_weight": [2.0, 0.5]}),
    "masked": (bce_with_logits, NUMBERS, UNKNOWN, {"masked": True}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CASES)
def test_a_loss_with_weights_is_that_of_repeated_rows(name: str, reduction: str) -> None:
    make, output, target, options = CASES[name]
    loss = make(reduction=reduction, **options)
    assert loss.takes_weights
    weighted, repeated = output.clone().requires_grad_(), output.clone().requires_grad_()
    batch = Batch((), target, REPEATS.float())
    found = loss_of(loss, weighted, batch)
    wanted = loss(repeated.repeat_interleave(REPEATS, 0), target.repeat_interleave(REPEATS, 0))
    torch.testing.assert_close(found, wanted)
    assert float(denominator_of(loss, batch)) == pytest.approx(
        float(loss.denominator(target.repeat_interleave(REPEATS, 0)))
    )
    found.backward()
    wanted.backward()
    torch.testing.assert_close(weighted.grad, repeated.grad)


def test_a_batch_without_weight_has_loss_0_and_no_gradient() -> None:
    output = LOGITS.clone().requires_grad_()
    loss = loss_of(cross_entropy(), output, Batch((), CLASSES, torch.zeros(N)))
    loss.backward()
    assert output.grad is not None
    assert loss.item() == 0
    assert not output.grad.any()


def spec_of(task: str, outputs: int) -> DataSpec:
    return DataSpec("t", task, "tabular", (4,), outputs)


METRICS = {
    "classes": (Classification(spec_of("classification", C)), LOGITS, CLASSES),
    "binary": (Classification(spec_of("classification", 1)), NUMBERS[:, :1], BINARY),
    "tags": (Multilabel(spec_of("multilabel", K)), NUMBERS, UNKNOWN),
    "numbers": (Regression(spec_of("regression", K)), NUMBERS, VALUES),
    "images": (Regression(spec_of("reconstruction", K)), NUMBERS, VALUES),
    "with a user's": (MetricCollection(Classification(spec_of("classification", C)), []), LOGITS, CLASSES),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_with_weights_are_those_of_repeated_rows_however_they_are_cut(name: str) -> None:
    metric, output, target = METRICS[name]
    output_twice, target_twice = output.repeat_interleave(REPEATS, 0), target.repeat_interleave(REPEATS, 0)
    for size in (1, 5, N):  # of 1: some batches have no weight at all
        parts = zip(output.split(size), target.split(size), REPEATS.float().split(size), strict=True)
        total = total_of(metric, [metric.counts(*part) for part in parts])
        wanted = metric.counts(output_twice, target_twice)
        assert metric.result(total) == pytest.approx(metric.result(wanted))
        assert metric.confusion(total) == metric.confusion(wanted)
    train = metric.train_result(metric.train_counts(output, target, REPEATS.float()))
    assert train == pytest.approx(metric.train_result(metric.train_counts(output_twice, target_twice)))


def test_metrics_with_weights_are_those_of_scikit_learn() -> None:
    weight = torch.rand(N, generator=random) / N  # together below 1
    metric, said = METRICS["classes"][0], LOGITS.argmax(1)
    assert metric.result(metric.counts(LOGITS, CLASSES, weight)) == pytest.approx(
        {
            "accuracy": accuracy_score(CLASSES, said, sample_weight=weight),
            "macro_f1": f1_score(CLASSES, said, average="macro", sample_weight=weight),
        }
    )
    metric = METRICS["numbers"][0]
    assert metric.result(metric.counts(NUMBERS, VALUES, weight)) == pytest.approx(
        {
            "mae": mean_absolute_error(VALUES, NUMBERS, sample_weight=weight),
            "r2": r2_score(VALUES, NUMBERS, sample_weight=weight),
        }
    )


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_batch_has_the_weights_of_its_rows(in_memory: bool, shuffle: bool) -> None:
    rows = torch.arange(70.0)[:, None]
    part = Split((rows,), rows.clone(), weight=rows[:, 0] * 2)
    data = from_parts("t", "regression", "tabular", part)
    loading = Loading(in_memory, workers=0)
    source, _ = batches_for(part, data.spec, batch_size=2, shuffle=shuffle, loading=loading)
    assert source.weighted
    for start in (0, 3):
        batches = list(source.epoch(1, start))
        assert len(batches) == 35 - start
        for batch in batches:
            assert batch.weight is not None
            assert torch.equal(batch.weight, batch.inputs[0][:, 0] * 2)
    assert part.take([3, 1]).weight.tolist() == [6, 2]
    assert part.first(2).weight.tolist() == [0, 2]
    source.close()


def shops(count: int = 60, seed: int = 0) -> pandas.DataFrame:
    numbers = np.random.default_rng(seed)
    frame = pandas.DataFrame(numbers.normal(size=(count, 3)).round(3), columns=["a", "b", "c"])
    frame["kind"] = np.where(frame["a"] + numbers.normal(size=count) > 0, "x", "y")
    return frame


def words(folder: Path, name: str, train: pandas.DataFrame, test: pandas.DataFrame, *more: str) -> list[str]:
    for part, frame in (("train", train), ("test", test)):
        frame.to_csv(folder / f"{name}-{part}.csv", index=False)
    paths = [f"dataset.{part}_path={folder / f'{name}-{part}.csv'}" for part in ("train", "test")]
    return [
        "dataset=table", *paths, "dataset.target=kind", "dataset.standardize=false", "dataset.val_fraction=0",
        "dataset.baseline=none", "model=mlp", "model.hidden=[4]", "optimizer=sgd", "optimizer.lr=0.5",
        "trainer.batch_size=full", "trainer.epochs=4", "device=cpu", f"run.dir={folder / name}", *more,
    ]  # fmt: skip


def metrics_of(run: dlrun.api.Run) -> list[dict[str, float]]:
    rows = csv.DictReader((run.path / "metrics.csv").read_text().splitlines())
    told = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "test_macro_f1")
    return [{key: float(row[key]) for key in told} for row in rows]


@pytest.mark.figures
@pytest.mark.parametrize("twice", [2, 0])
def test_a_run_with_weights_is_that_of_a_table_with_rows_twice_or_without_them(
    twice: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrun.run.closing.draw_figures", lambda *_: None)  # their values are stored all the same
    train, test = shops(), shops(40, seed=1)
    weights = [np.where(np.arange(len(frame)) % 3 == 0, twice, 1) for frame in (train, test)]
    own = [frame.assign(w=weight) for frame, weight in zip((train, test), weights, strict=True)]
    copies = [frame.loc[frame.index.repeat(weight)] for frame, weight in zip((train, test), weights, strict=True)]
    weighted = dlrun.train(words(tmp_path, "weighted", *own, "dataset.weight=w"))
    repeated = dlrun.train(words(tmp_path, "repeated", *copies))
    for ours, theirs in zip(metrics_of(weighted), metrics_of(repeated), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    summaries = [json.loads((run.path / "summary.json").read_text()) for run in (weighted, repeated)]
    assert summaries[0]["baseline"] == pytest.approx(summaries[1]["baseline"])
    assert (weighted.path / "confusion.csv").read_text() == (repeated.path / "confusion.csv").read_text()
    log = (weighted.path / "train.log").read_text()
    assert "plain" in log
    assert f"rows have weights from {min(twice, 1)} to {max(twice, 1)}" in log
    parts = weighted.evaluate(), repeated.evaluate()
    for key in ("metrics", "baseline"):
        assert parts[0][key] == pytest.approx(parts[1][key], abs=1e-6)
    for ours, theirs in zip(parts[0]["classes"], parts[1]["classes"], strict=True):
        assert ours == pytest.approx(theirs)


def test_accumulated_batches_are_one_batch_and_an_epoch_loss_is_exact(tmp_path: Path) -> None:
    weight = np.random.default_rng(3).integers(0, 5, 60) / 3
    frames = shops().assign(w=weight), shops(40, seed=1).assign(w=1.5)
    whole = dlrun.train(words(tmp_path, "whole", *frames, "dataset.weight=w"))
    cut = ["trainer.batch_size=7", "trainer.accumulate=9"]
    parts = dlrun.train(words(tmp_path, "cut", *frames, "dataset.weight=w", *cut))
    for ours, theirs in zip(metrics_of(parts), metrics_of(whole), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.figures
def test_weights_that_are_no_whole_numbers_are_told_on_the_page_and_in_evaluations(tmp_path: Path) -> None:
    test = shops(40, seed=1).assign(w=np.linspace(0.1, 1.3, 40))
    frames = shops().assign(w=0.5), test
    run = dlrun.train(words(tmp_path, "run", *frames, "dataset.weight=w"))
    said = run.predict(test)["prediction"]
    found = run.evaluate(threshold=0.5)
    wanted = accuracy_score(test["kind"], said, sample_weight=test["w"])
    assert found["metrics"]["accuracy"] == pytest.approx(wanted)
    assert found["at_threshold"]["accuracy"] == pytest.approx(wanted)
    matrix = [
        list(map(float, row[1:])) for row in csv.reader((run.path / "confusion.csv").read_text().splitlines()[1:])
    ]
    assert np.sum(matrix) == pytest.approx(test["w"].sum())
    assert cli.main(["report", str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert f"of {test['w'].sum():.4g} right" in page
    assert '<table class="confusion' in page


def test_a_regression_is_measured_by_weights_in_its_own_units(tmp_path: Path) -> None:
    weight = np.random.default_rng(2).integers(0, 4, 40) / 7
    train, test = (frame.assign(c=frame["c"] * 100) for frame in (shops(), shops(40, seed=1)))
    options = words(tmp_path, "run", train.assign(w=np.arange(60)), test.assign(w=weight), "dataset.weight=w")
    run = dlrun.train([*options, "dataset.target=c", "optimizer.lr=0.05", "dataset.baseline=trees"])
    said, true = run.predict(test)["prediction"].to_numpy(), test["c"].to_numpy()
    mae, r2 = (measure(true, said, sample_weight=weight) for measure in (mean_absolute_error, r2_score))
    found = run.evaluate()
    assert found["metrics"] == pytest.approx({"loss": found["metrics"]["loss"], "mae": mae, "r2": r2}, rel=1e-4)
    told = found["targets"][0]
    assert (told["mae"], told["r2"]) == pytest.approx((mae, r2), rel=1e-4)
    mean = np.full(40, np.average(train["c"], weights=np.arange(60)))
    summary = json.loads((run.path / "summary.json").read_text())
    for baseline_mae in (summary["baseline"]["mae"], found["baseline"]["mae"]):
        assert baseline_mae == pytest.approx(mean_absolute_error(true, mean, sample_weight=weight), rel=1e-4)
    assert summary["rival"]["mae"] < 2 * mae
    assert np.isfinite(summary["rival"]["r2"])


def test_what_is_wrong_with_weights_is_told_by_column_and_row(tmp_path: Path) -> None:
    frame = shops().assign(w=1.0)
    cases: list[tuple[object, str]] = [
        (-2.0, r"'w' is -2 in row 6\."),
        (None, r"'w' has no number in row 6\."),
        ("many", r"'w' has no number in row 6\."),
    ]
    for cell, message in cases:
        wrong = frame.astype({"w": object})
        wrong.loc[5, "w"] = cell
        wrong.to_csv(tmp_path / "wrong.csv", index=False)
        with pytest.raises(DataError, match=f"^dataset.weight: column {message}"):
            table(seed=0, path=str(tmp_path / "wrong.csv"), target="kind", weight="w")
    frame.assign(w=0).to_csv(tmp_path / "zero.csv", index=False)
    with pytest.raises(DataError, match=r"^dataset.weight: column 'w' is 0 in every row"):
        table(seed=0, path=str(tmp_path / "zero.csv"), target="kind", weight="w")
    with pytest.raises(ConfigError, match=r"dataset.weight: there is no column 'W'.*w"):
        table(seed=0, path=str(tmp_path / "zero.csv"), target="kind", weight="W")
    with pytest.raises(DataError, match="row weights of test must be"):
        dlrun.train(words(tmp_path, "part", frame, frame.assign(w=0), "dataset.weight=w"))


def test_the_column_is_no_feature_and_the_cache_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "root"))
    shops().assign(w=np.arange(60) / 7).to_csv(tmp_path / "t.csv", index=False)
    keys: dict[str, Any] = {"seed": 0, "path": str(tmp_path / "t.csv"), "target": "kind", "cache": True}
    plain = table(**keys)
    made, again = table(**keys, weight="w"), table(**keys, weight="w")
    assert plain.spec.feature_names == ("a", "b", "c", "w")
    assert plain.train.weight is None
    assert made.spec.feature_names == again.spec.feature_names == ("a", "b", "c")
    assert any("from the cache" in note for note in again.notes)
    for name, part in made.parts().items():
        kept = again.parts()[name].weight
        assert part.weight is not None
        assert kept is not None
        assert torch.equal(part.weight, kept)
        assert torch.equal(part.inputs[0], plain.parts()[name].inputs[0][:, :3])  # the same split


def test_trees_and_baseline_learn_and_count_by_weights(tmp_path: Path) -> None:
    train, test = shops(200), shops(40, seed=1)
    flipped = train.assign(kind=train["kind"].map({"x": "y", "y": "x"}), w=0)  # as many rows that say the opposite
    ignored = test.assign(kind=test["kind"].map({"x": "y", "y": "x"}), w=0)
    frames = [pandas.concat([train.assign(w=3), flipped]), pandas.concat([test.assign(w=3), ignored])]
    found = []
    for name, parts in (("plain", (train, test)), ("weighted", frames)):
        options = words(tmp_path, name, *parts)
        paths = dict(word.removeprefix("dataset.").split("=") for word in options[1:3])
        data = table(seed=0, target="kind", weight="w" if name == "weighted" else None, val_fraction=0, **paths)  # type: ignore[arg-type]
        assert data.rival is not None
        found.append((baseline(data), data.rival(data)))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[1][1]["accuracy"] == pytest.approx(found[0][1]["accuracy"], abs=0.1)
    assert found[1][1]["accuracy"] > 0.6


class OwnForward(ClassLoss):
    """A loss of a user's whose `each` is not its own."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return super().forward(output, target) ** 2


def test_what_cannot_weigh_rows_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not OwnForward("own", "mean", None, None).takes_weights
    frames = shops().assign(w=1.0), shops(40, seed=1).assign(w=1.0)
    options = words(tmp_path, "run", *frames, "dataset.weight=w")
    with pytest.raises(ConfigError, match=r"device.compile: a step with row weights is not compiled"):
        dlrun.train([*options, "device.compile=true"])
    (tmp_path / "own.py").write_text(
        "import torch.nn.functional as F\nfrom dlrun import register\n"
        "@register.loss('own')\ndef own(output, target):\n    return F.cross_entropy(output, target)\n"
    )
    with pytest.raises(ConfigError, match=r"dataset.weight: the loss own cannot weigh rows"):
        dlrun.train([*options, f"plugins=[{tmp_path / 'own.py'}]", "loss=own"])


@pytest.mark.figures
def test_a_metric_of_a_users_is_handed_no_weights_and_that_is_said(tmp_path: Path) -> None:
    frames = shops().assign(w=0.5), shops(40, seed=1).assign(w=np.arange(40) / 3)
    (tmp_path / "rows.py").write_text(
        "import dlrun\n\n\nclass Rows:\n    names = ('rows',)\n\n"
        "    def counts(self, output, target):\n        return output.new_tensor([len(target)])\n\n"
        "    def result(self, counts):\n        return {'rows': counts.item()}\n\n\n"
        "@dlrun.register.metric('rows')\ndef rows(spec, loss):\n    return Rows()\n"
    )
    options = words(tmp_path, "run", *frames, "dataset.weight=w", f"plugins=[{tmp_path / 'rows.py'}]")
    run = dlrun.train(options)
    assert "row weights are not used by rows" in (run.path / "train.log").read_text()
    summary = json.loads((run.path / "summary.json").read_text())
    said = run.predict(frames[1])["prediction"]
    wanted = accuracy_score(frames[1]["kind"], said, sample_weight=frames[1]["w"])
    assert (summary["test"]["rows"], summary["test"]["accuracy"]) == (40, pytest.approx(wanted))
    assert pandas.read_csv(run.path / "confusion.csv", index_col=0).to_numpy().sum() == pytest.approx(260)


def test_a_step_that_failed_is_replayed_with_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = shops().assign(w=np.arange(60) / 7), shops(40, seed=1).assign(w=1.0)
    assert cli.main(words(tmp_path, "run", *frames, "dataset.weight=w", "optimizer.lr=1e38")) == 4
    capsule = torch.load(tmp_path / "run" / "crash.pt", weights_only=True)
    assert sorted(capsule["weight"].tolist()) == pytest.approx([row / 7 for row in range(60)])
    capsys.readouterr()
    assert cli.main(["replay", str(tmp_path / "run")]) == 0
    assert "  loss: " in capsys.readouterr().out

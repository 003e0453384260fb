"""Comparisons over folds: their intervals, differences and remarks, and the predictions of all rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

import dlrun
from dlrun import cli
from dlrun.report import intervals, panels, stats
from dlrun.report.compare import compare
from dlrun.report.comparison import Comparison
from dlrun.report.grouped import grouped_table
from dlrun.report.html import write_report
from dlrun.report.intervals import MetricScale, fold_interval
from dlrun.report.out_of_fold import out_of_fold
from dlrun.report.pairs import compare_pairs, difference
from dlrun.report.remarks import remarks
from dlrun.report.stats import Fold, PairRow, RunGroup, group, rank
from tests.helpers.damage import KINDS, damage
from tests.helpers.runs_by_hand import make_config, make_run

RATIOS = {"test": 20 / 64, "val": 16 / 64, "train": 1.0}
WORLDS = 1500


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "draw_comparison", lambda comparison, path: path)


def rows(name: str, folds: list[list[float]], count: int | None = 5) -> list[PairRow]:
    """The runs of one setting: for each fold the values by seed, also as its test accuracy."""
    return [
        PairRow({"model": name}, seed, value, {"accuracy": value}, fold=Fold(number, count, RATIOS))
        for number, values in enumerate(folds)
        for seed, value in enumerate(values)
    ]


def label(one: RunGroup) -> str:
    return str(one.keys["model"])


def said(some: list[PairRow], mode: str = "max") -> str:
    ranked = rank(group(some, {None: MetricScale(mode)}), mode)
    return "\n".join(remarks(ranked, "val_accuracy", mode, label, pairs=compare_pairs(ranked)))


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.25, 20 / 64, 0.0])
@pytest.mark.parametrize("means", [[0.8, 0.9, 0.7], [0.1, 0.4, 0.35, 0.2, 0.9]])
def test_the_interval_of_folds_is_that_of_nadeau_and_bengio(means: list[float], ratio: float) -> None:
    found = fold_interval(means, ratio)
    assert found is not None
    k = len(means)
    error = np.sqrt(np.var(means, ddof=1) * (1 / k + ratio))
    low, high = scipy_stats.t.interval(0.95, k - 1, loc=np.mean(means), scale=error)
    assert (found.n, found.low, found.high) == (k, pytest.approx(low), pytest.approx(high))
    assert found.std == pytest.approx(scipy_stats.tstd(means))
    if not ratio:
        assert found == intervals.interval(means), "that of independent runs"


def test_the_interval_of_folds_by_hand() -> None:
    found = fold_interval([1.0, 2.0, 3.0], 0.5)  # s = 1, t(0.975, 2) = 4.30265, half = 4.30265 * sqrt(1/3 + 1/2)
    assert found is not None
    assert found.high == pytest.approx(2 + 4.30265 * (5 / 6) ** 0.5, abs=1e-4)


def test_fewer_than_three_folds_have_no_interval() -> None:
    for means in ([0.5], [0.5, 0.7]):
        found = fold_interval(means, 0.25)
        assert found is not None
        assert (found.center, found.low, found.high) == (pytest.approx(np.mean(means)), None, None)
    assert fold_interval([], 0.25) is None
    unknown = fold_interval([0.5, 0.6, 0.7], None)
    assert unknown is not None
    assert (unknown.std, unknown.low) == (pytest.approx(0.1), None), "the sizes of the parts are not known"


def test_seeds_are_averaged_within_a_fold_first() -> None:
    (one,) = group(rows("a", [[1.0, 3.0], [4.0], [5.0, 6.0, 7.0]]))
    assert one.fold_means() == {0: 2.0, 1: 4.0, 2: 6.0}
    assert one.value == fold_interval([2.0, 4.0, 6.0], RATIOS["val"])
    assert one.test("accuracy") == fold_interval([2.0, 4.0, 6.0], RATIOS["test"])


def test_a_difference_is_taken_fold_by_fold() -> None:
    first, second = group([*rows("a", [[1.0, 3.0], [4.0], [6.0], [9.0]]), *rows("b", [[1.0], [2.0], [5.0]])])
    differences = [0.0, 2.0, 1.0]  # of the seed that both have, where one has two
    assert difference(first, second) == fold_interval(differences, RATIOS["val"])
    assert difference(first, second, "accuracy") == fold_interval(differences, RATIOS["test"])


def test_the_same_fold_and_seed_counts_once() -> None:
    twice = [*rows("a", [[1.0], [2.0], [3.0]]), *rows("a", [[5.0]])]
    (one,) = group(twice)
    assert one.fold_means() == {0: 5.0, 1: 2.0, 2: 3.0}
    assert stats.count_repeated(twice) == 1


def worlds(
    n: int, features: int, seeds: int, noise: float, alike: bool, penalty: float = 1.0
) -> tuple[np.ndarray, float]:
    """Test errors (W, 5, seeds) of ridge regressions in worlds of n rows, and n_test / n_train.

    The same n and features give the same worlds.
    A seed moves the fitted weights by `noise`, in all folds of a world alike or in each anew.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(WORLDS, n, features))
    y = 0.5 * x.sum(2) + rng.normal(size=(WORLDS, n))
    moved = rng.normal(size=(WORLDS, 5, features, seeds))
    moved = np.broadcast_to(moved[:, :1], moved.shape) if alike else moved
    errors = np.empty((WORLDS, 5, seeds))
    for fold in range(5):
        tested = np.arange(n) % 5 == fold
        learned = np.flatnonzero(~tested)[: round(0.8 * (~tested).sum())]  # the rest is validation
        a, b = x[:, learned], y[:, learned, None]
        weights = np.linalg.solve(a.transpose(0, 2, 1) @ a + penalty * np.eye(features), a.transpose(0, 2, 1) @ b)
        errors[:, fold] = ((x[:, tested] @ (weights + noise * moved[:, fold]) - y[:, tested, None]) ** 2).mean(1)
    return errors, float(tested.sum() / len(learned))


def covered(errors: np.ndarray, interval_of: Callable[[list[float]], intervals.ConfidenceInterval | None]) -> float:
    """The share of worlds whose interval, of the values by fold or of all, holds the mean over all worlds."""
    truth, found = errors.mean(), [interval_of(world.tolist()) for world in errors]
    spans = [(one.low, one.high) for one in found if one is not None]
    return float(np.mean([low <= truth <= high for low, high in spans if low is not None and high is not None]))


@pytest.mark.parametrize(("n", "features"), [(60, 15), (80, 12), (100, 20)])
@pytest.mark.parametrize(("seeds", "noise", "alike"), [(1, 0.0, False), (3, 0.2, False), (3, 0.2, True)])
def test_the_intervals_cover_what_they_promise(n: int, features: int, seeds: int, noise: float, alike: bool) -> None:
    errors, ratio = worlds(n, features, seeds, noise, alike)
    assert 0.93 <= covered(errors.mean(2), lambda means: fold_interval(means, ratio)) <= 0.985
    if seeds > 1:
        assert covered(errors.reshape(WORLDS, -1), intervals.interval) < 0.85, "t over all runs promises too much"


@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.0), (3, 0.2)])
def test_the_intervals_of_differences_promise_no_more_than_they_hold(seeds: int, noise: float) -> None:
    """They hold more: the differences of two learners by fold are less alike than their errors."""
    (first, ratio), (second, _) = (worlds(80, 12, seeds, noise, False, penalty) for penalty in (1.0, 30.0))
    assert covered((first - second).mean(2), lambda means: fold_interval(means, ratio)) >= 0.93


# --- remarks ----------------------------------------------------------------------------------------------------------


def test_settings_that_folds_do_not_tell_apart_are_named() -> None:
    best = [[0.90], [0.80], [0.95], [0.85], [0.88]]
    far = [[value - 0.3 + 0.001 * fold for (value,) in [values]] for fold, values in enumerate(best)]
    close = [[value - 0.01 * (-1) ** fold for (value,) in [values]] for fold, values in enumerate(best)]
    text = said([*rows("a", best), *rows("far", far), *rows("close", close)])
    assert "the best by val_accuracy is a; it cannot be told apart from close, and told apart from the other." in text
    assert "over 5 folds, test_accuracy of a minus that of close is 0.0020 (" in text
    assert "far" not in text
    assert "the best by val_accuracy is a, told apart from the other." in said([*rows("a", best), *rows("far", far)])


def test_what_two_folds_say_is_no_support() -> None:
    text = said([*rows("a", [[0.9], [0.8]], 2), *rows("b", [[0.5], [0.4]], 2)])
    assert "fewer than 3 folds in common give no interval" in text


def test_missing_folds_are_said_with_their_setting_and_seed() -> None:
    whole = [[0.9, 0.9]] * 5
    some = [*rows("a", whole), *rows("b", whole)]
    assert "no result" not in said(some)
    lost = [row for row in some if (row.keys["model"], row.seed) != ("b", 1) or row.fold.number not in (1, 3)]  # type: ignore[union-attr]
    assert "no result of folds 1, 3 of 5 (b seed 1): the means are over the other folds." in said(lost)
    failed = [PairRow({"model": "a"}, 0, status="failed", fold=Fold(4, 5, RATIOS)), *rows("a", [[0.9]] * 4)]
    assert "no result of fold 4 of 5 (seed 0)" in said(failed)


# --- runs -------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def compared(folder: Path, folds: int, seeds: int) -> Comparison:
    """Runs of two models over folds and seeds, made by hand, whose summaries hold the sizes of their parts."""
    for number, model in enumerate(("mlp", "linear")):
        for fold in range(folds):
            for seed in range(seeds):
                config = make_config(seed=seed, dataset__folds=5, dataset__fold=fold)
                config["model"] = {"name": model}
                path = make_run(folder / f"{model}-{fold}-{seed}", config, floor=0.1 + number + 0.01 * fold,
                                overrides=[f"model={model}", f"dataset.fold={fold}", f"seed={seed}"])  # fmt: skip
                summary = json.loads((path / "summary.json").read_text())
                summary["counts"] |= {"train": 64, "train_used": 64, "val": 16, "test": 20}
                (path / "summary.json").write_text(json.dumps(summary))
    return compare([folder], folder / "compared")


def test_runs_of_several_folds_are_one_setting(tmp_path: Path) -> None:
    found = compared(tmp_path, 4, 2)
    assert found.keys == ["model", "dataset.fold", "seed"]
    assert [(one.keys, len(one.rows), one.folds) for one in found.groups] == [
        ({"model": "mlp"}, 8, [0, 1, 2, 3]),
        ({"model": "linear"}, 8, [0, 1, 2, 3]),
    ]
    best, second = found.groups
    assert (best.ratio(), best.ratio("accuracy")) == (16 / 64, 20 / 64)
    by_fold = [[row.value for row in best.rows if row.fold and row.fold.number == k] for k in range(4)]
    assert best.value == fold_interval([float(np.mean(some)) for some in by_fold], 16 / 64)  # type: ignore[arg-type]
    assert "no result of fold 4 of 5 (mlp seed 0; mlp seed 1; linear seed 0; linear seed 1)" in found.remarks[-1]
    table = grouped_table(found)
    (of_best, of_second) = (dict(zip(table.headers, cells, strict=True)) for cells in table.rows)
    assert of_best["n"] == "8 (4 folds)"
    assert of_best["to the best"] == ""
    apart = difference(second, best)
    assert apart is not None
    assert of_second["to the best"] == f"{apart.center:.4f} ({apart.low:.4f} to {apart.high:.4f})"
    line = lines(tmp_path / "compared" / "results.csv")[0]
    own = best if line["model"] == "mlp" else second
    assert line["option.folds"] == "4"
    assert own.value is not None
    assert float(line["option.val_loss.high"]) == own.value.high
    page = write_report(tmp_path, found).read_text()
    assert "no result of fold 4 of 5" in page
    assert "Runs that differ only in seed or fold" in page


def test_damaged_predictions_are_left_out(tmp_path: Path) -> None:
    found = compared(tmp_path, 2, 1)
    for kind in [*KINDS, "a cell too many"]:
        for number, job in enumerate(found.jobs):
            path = job.run.path / "test_predictions.csv"
            path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
            path.write_text(f"row,true,prediction\n{number},a,b\n")
        first = found.jobs[0].run.path / "test_predictions.csv"
        damage(first, kind) if kind in KINDS else first.write_text("row,true\n0,a,b\n")
        rows = list(csv.DictReader(io.StringIO(out_of_fold(found))))
        assert {"1", "2", "3"} <= {line["row"] for line in rows}, kind
        assert all(line["row"].isdecimal() for line in rows), kind


def test_seeds_at_one_fold_are_compared_as_ever(tmp_path: Path) -> None:
    found = compared(tmp_path, 1, 3)
    (value,) = [one.value for one in found.groups if one.keys["model"] == "mlp"]
    assert value == intervals.interval([row.value for row in found.groups[0].rows])  # type: ignore[misc]
    assert "option.folds" not in (tmp_path / "compared" / "results.csv").read_text()


TABLE = "\n".join(["x,z,kind,size", *(f"{i % 17},{i * 7 % 13},{'ab'[i * i % 5 > 1]},{i * i % 31}" for i in range(60))])


def test_each_row_is_predicted_once_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    words = ["dataset=table", "dataset.path=t.csv", "dataset.target=kind", "model=mlp", "dataset.baseline=none",
             "trainer.epochs=1", "device=cpu", "dataset.folds=3", "sweep.dir=s", "seed=0,1"]  # fmt: skip
    assert cli.main(["-m", *words, "dataset.fold=0,2"]) == 0
    assert "no result of fold 1 of 3 (seed 0; seed 1)" in capsys.readouterr().out
    assert len(lines(tmp_path / "s" / "out_of_fold.csv")) == 2 * 40
    assert cli.main(["-m", *words, "dataset.fold=range(3)"]) == 0
    printed = capsys.readouterr().out
    assert "no result" not in printed
    assert "out_of_fold.csv" in printed
    found = lines(tmp_path / "s" / "out_of_fold.csv")
    assert list(found[0]) == ["row", "fold", "seed", "true", "prediction", "p_a", "p_b"]
    assert [(line["seed"], int(line["row"])) for line in found] == [(s, row) for s in "01" for row in range(60)]
    kinds = [line.split(",")[2] for line in TABLE.splitlines()[1:]]
    assert [line["true"] for line in found] == kinds * 2
    for line in found:
        assert line["prediction"] == max("ab", key=lambda name: float(line[f"p_{name}"]))
    folds = [[line["fold"] for line in found if line["seed"] == seed] for seed in "01"]
    assert folds[0] == folds[1], "the folds are the same for every seed"
    for run in (tmp_path / "s" / "jobs").iterdir():
        part = lines(run / "test_predictions.csv")
        right = np.mean([line["true"] == line["prediction"] for line in part])
        assert json.loads((run / "summary.json").read_text())["test"]["accuracy"] == pytest.approx(right)


def test_numbers_are_predicted_in_their_own_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    words = ["dataset=table", "dataset.path=t.csv", "dataset.target=size", "model=linear", "dataset.baseline=none"]
    words += ["trainer.epochs=1", "device=cpu"]
    dlrun.train(dlrun.compose([*words, "dataset.folds=4", "dataset.fold=3", "run.dir=a"]))
    found = lines(tmp_path / "a" / "test_predictions.csv")
    sizes = [line.split(",")[3] for line in TABLE.splitlines()[1:]]
    assert len(found) == 15
    assert [line["true"] for line in found] == [sizes[int(line["row"])] for line in found]
    squares = [(float(line["true"]) - float(line["prediction"])) ** 2 for line in found]
    r2 = json.loads((tmp_path / "a" / "summary.json").read_text())["test"]["r2"]
    assert r2 == pytest.approx(1 - np.mean(squares) / np.var([float(line["true"]) for line in found]), rel=1e-3)
    dlrun.train(dlrun.compose([*words, "run.dir=b"]))
    assert not (tmp_path / "b" / "test_predictions.csv").exists(), "no folds were asked for"

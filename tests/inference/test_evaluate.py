"""`dlrun evaluate`: the numbers of training again, other data by the run's own labels, what is written and counted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

import dlrun
from dlrun import cli
from dlrun.api import Run

Trained = Callable[[str], Run]


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `dlrun evaluate`."""
    code = cli.main(["evaluate", *map(str, words)])
    out = capsys.readouterr()
    assert "Traceback" not in out.out + out.err
    return code, out.out, out.err


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "predictions.csv").read_text(encoding="utf-8"))))


@pytest.mark.parametrize("name", ["digits", "binary", "nll", "regression", "tags", "masks", "names", "reconstruction"])
def test_the_numbers_are_those_of_the_end_of_training(name: str, trained: Trained) -> None:
    run = trained(name)
    found = run.evaluate()
    assert found["part"] == "test"
    wanted = {key: value for key, value in run.summary["test"].items() if key != "of"}
    assert found["metrics"] == pytest.approx(wanted, rel=1e-5)
    assert found["rows"] == run.summary["counts"]["test"] == len(table(found["folder"]))
    if "accuracy" in run.summary["baseline"] and name != "tags" and "masks" not in name:
        assert found["baseline"]["accuracy"] == pytest.approx(run.summary["baseline"]["accuracy"])
    assert (run.path / "reconstructions.png").is_file() == (name == "reconstruction")
    for figure in found["folder"].glob("*.png"):
        assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_is_told_of_classes_follows_from_the_written_rows(trained: Trained) -> None:
    run = trained("binary")
    found = run.evaluate("test")
    rows = table(found["folder"])
    true = np.array([row["true"] == "benign" for row in rows])
    chances = np.array([float(row["p_benign"]) for row in rows])
    assert [row["prediction"] == "benign" for row in rows] == (chances >= 0.5).tolist()
    assert found["two_classes"]["roc_auc"] == pytest.approx(metrics.roc_auc_score(true, chances), abs=1e-4)
    benign = next(row for row in found["classes"] if row["class"] == "benign")
    assert benign["recall"] == pytest.approx(metrics.recall_score(true, chances >= 0.5))
    assert found["labels"] == ["malignant", "benign"]
    assert np.asarray(found["confusion"]).sum() == len(rows)
    assert {path.name for path in found["folder"].iterdir()} == {
        "calibration.png", "confusion.csv", "confusion.png", "evaluation.json", "predictions.csv", "scores.png",
    }  # fmt: skip


@pytest.mark.usefixtures("no_figures")
def test_the_best_threshold_is_of_validation_and_used_where_it_is_asked_for(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("binary")
    best = run.evaluate("test")["threshold"]
    rows = table(run.evaluate("val")["folder"])
    true = np.array([row["true"] == "benign" for row in rows])
    chances = np.array([float(row["p_benign"]) for row in rows])
    assert best["f1"] == pytest.approx(max(metrics.f1_score(true, chances >= t) for t in chances), abs=1e-6)
    assert best["on"] == "val"
    found = run.evaluate("test", threshold="best")
    rows = table(found["folder"])
    said = [row["prediction"] == "benign" for row in rows]
    assert said == [float(row["p_benign"]) >= best["value"] - 1e-6 for row in rows]
    right = np.mean([row["true"] == row["prediction"] for row in rows])
    assert found["at_threshold"]["accuracy"] == pytest.approx(right)
    assert cli.main(["predict", str(run.path), ",".join("1" * 30), "--threshold", "best"]) == 0
    assert cli.main(["evaluate", str(run.path), "--threshold", "1.5"]) == 2
    assert "takes a number from 0 to 1, or best" in capsys.readouterr().err


def test_a_regression_is_told_in_the_units_of_its_target(trained: Trained) -> None:
    run = trained("regression")
    found = run.evaluate()
    rows = table(found["folder"])
    true, said = (np.array([float(row[key]) for row in rows]) for key in ("true", "prediction"))
    target = found["targets"][0]
    assert target["target"] == "progression"
    assert target["rmse"] == pytest.approx(metrics.root_mean_squared_error(true, said), rel=1e-3)
    assert target["r2"] == pytest.approx(run.summary["test"]["r2"], abs=1e-4)
    assert found["baseline"]["rmse"] > 50
    assert (found["folder"] / "predicted.png").is_file()


@pytest.mark.usefixtures("no_figures")
def test_evaluations_of_test_are_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = dlrun.train(["model=linear", "dataset=iris", "trainer.epochs=1", "device=cpu", f"run.dir={tmp_path / 'run'}"])
    code, out, _ = command(capsys, run.path, "--split", "val")
    assert code == 0
    assert "evaluated" not in out
    assert "selected the best epoch" in out
    code, out, _ = command(capsys, run.path)
    assert "the test part has been evaluated 2 times" in out
    code, out, _ = command(capsys, run.path, "--json", "--checkpoint", "last")
    assert json.loads(out)["test_evaluations"] == 3
    assert sorted(path.name for path in (run.path / "evaluations").iterdir()) == ["test", "test-last", "val"]
    assert run.evaluate("test")["folder"].name == "test-2"


@pytest.mark.usefixtures("no_figures")
def test_other_names_go_through_the_runs_own_labels(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("names")
    people = [("Rossi", "Italian"), ("Dvořák", "Czech"), ("Ito", "Japanese")]
    (tmp_path / "more.csv").write_text("country,name\n" + "".join(f"{c},{n}\n" for n, c in people), encoding="utf-8")
    found = run.evaluate(overrides=[f"dataset.test_path={tmp_path / 'more.csv'}"])
    rows = table(found["folder"])
    assert [row["true"] for row in rows] == ["Italian", "Czech", "Japanese"]
    assert [row["prediction"] for row in rows] == run.predict([name for name, _ in people])["prediction"].tolist()
    assert (found["folder"].name, found["source"]) == ("more", str(tmp_path / "more.csv"))
    (tmp_path / "strange.csv").write_text("name,country\nRossi,Italien\nX,Mars\n", encoding="utf-8")
    code, out, err = command(capsys, run.path, f"dataset.test_path={tmp_path / 'strange.csv'}")
    assert (code, out) == (2, "")
    assert "classes that training did not show: Italien, Mars. Did you mean Italian" in err


@pytest.mark.usefixtures("no_figures")
def test_a_folder_of_images_is_evaluated_by_the_names_of_its_folders(images: Path, tmp_path: Path) -> None:
    words = ["model=linear", "dataset=image_folder", "dataset.size=8", "dataset.color=grey", "trainer.epochs=2"]
    run = dlrun.train([*words, "device=cpu", f"dataset.path={images}", f"run.dir={tmp_path / 'run'}"])
    (tmp_path / "more" / "1").mkdir(parents=True)
    for file in sorted((images / "1").iterdir())[:3]:
        (tmp_path / "more" / "1" / file.name).write_bytes(file.read_bytes())
    found = run.evaluate(overrides=[f"dataset.test_path={tmp_path / 'more'}"])
    rows = table(found["folder"])
    assert [row["true"] for row in rows] == ["1"] * 3
    assert [row["prediction"] for row in rows] == run.predict(tmp_path / "more" / "1")["prediction"].tolist()


def test_letters_are_told_text_by_text(trained: Trained) -> None:
    found = trained("hello").evaluate()
    assert table(found["folder"]) == [{"row": "0", "true": "ohlol", "prediction": "ohlol"}]
    assert found["baseline"] == {"of": "majority class (l)", "accuracy": 0.4}


def test_the_baseline_is_that_of_training_for_every_task(trained: Trained) -> None:
    for name in ("masks", "tags", "reconstruction"):
        run = trained(name)
        found = run.evaluate("test")["baseline"]
        assert {"part": "test", **found} == run.summary["baseline"]


def test_keys_that_say_where_the_same_rows_lie_count_as_the_runs_own_test(trained: Trained, tmp_path: Path) -> None:
    run = trained("names")
    before = run.evaluate("test")["test_evaluations"]
    found = run.evaluate("test", overrides=f"dataset.root={tmp_path}")
    assert (found["source"], found["test_evaluations"]) == (None, before + 1)
    found = trained("nll").evaluate(overrides=["dataset.test_fraction=0.5"])
    assert "dataset.test_fraction=0.5 may put rows that were trained on into the test part" in found["remarks"]
    assert found["folder"].name == "test_fraction-0.5"


def test_a_long_name_of_a_file_is_cut_and_a_failed_evaluation_leaves_no_folder(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = trained("names"), tmp_path / f"{'n' * 150}.csv"
    file.write_text("name,country\nRossi,Italian\n")
    assert run.evaluate(overrides=[f"dataset.test_path={file}"])["folder"].name == "n" * 100
    before = sorted(run.path.glob("evaluations/*"))

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dlrun.inference.evaluate_command.draw_evaluation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate()
    assert sorted(run.path.glob("evaluations/*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "there is no run 'nosuch'"),
        (["RUN", "--split", "tets"], "--split: there is no 'tets'"),
        (["RUN", "--checkpoint", "nosuch.pt"], "there is no checkpoint 'nosuch.pt'"),
        (["RUN", "optimizer.lr=1"], "optimizer.lr: does not change how a trained model is evaluated"),
        (["RUN", "dataset.test_fractoin=0.1"], "Did you mean dataset.test_fraction"),
        (["RUN", "--threshold", "0.3"], "goes with two classes or tags"),
        (["RUN", "--name", "../x"], "is no name for a folder"),
        (["RUN", "device=tpu"], "unknown device"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    words: list[str], said: str, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("nll")
    before = sorted(run.path.rglob("*"))
    code, out, err = command(capsys, *[str(run.path) if word == "RUN" else word for word in words])
    assert (code, out) == (2, "")
    assert said in err
    assert sorted(run.path.rglob("*")) == before or "--name" in words

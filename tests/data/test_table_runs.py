"""Runs on tables from file to prediction: columns by name, the cache, and a net that is as good as scikit-learn's."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from scipy import stats

import dlrun
from dlrun import cli
from dlrun.data.cache import READY, entries
from dlrun.data.table.read import Reading, read_table
from dlrun.data.table.table import table
from dlrun.data.transforms import Preparation
from tests.data.test_table import houses, write

QUICK = ["model=mlp", "model.hidden=[16]", "optimizer.lr=0.01", "trainer.epochs=10", "device=cpu", "dataset=table"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dlrun.api.Run:
    folder = tmp_path_factory.mktemp("houses")
    frame = houses().assign(key=[f"h{i}" for i in range(300)])
    path = write(folder, frame)
    words = [f"dataset.path={path}", "dataset.target=price", "dataset.id=[key]", f"run.dir={folder / 'run'}"]
    return dlrun.train([*QUICK, *words])


def test_predictions_take_columns_in_any_order_and_repeat_the_ids(run: dlrun.api.Run, tmp_path: Path) -> None:
    new = houses(12, seed=5).assign(key=[f"n{i}" for i in range(12)])
    price = new.pop("price")
    path = write(tmp_path, new[["key", "stars", "town", "size"]].assign(extra="x"), "new.csv")
    assert cli.main(["predict", str(run.path), path, "--output", str(tmp_path / "out.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [row["key"] for row in rows] == [f"n{i}" for i in range(12)]
    said = np.array([float(row["prediction"]) for row in rows])
    assert np.corrcoef(said, price)[0, 1] > 0.9
    from_frame = run.predict(new.replace("", np.nan))
    assert np.allclose(from_frame["prediction"], said, rtol=1e-4)
    assert from_frame["key"].tolist() == [f"n{i}" for i in range(12)]


def test_missing_columns_and_strange_cells_are_named(
    run: dlrun.api.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = houses(5, seed=5).drop(columns="price")
    assert cli.main(["predict", str(run.path), write(tmp_path, new.rename(columns={"town": "twon"}))]) == 2
    assert "has no column 'town'. Did you mean twon" in capsys.readouterr().err
    odd = new.astype(str).assign(town="Atlantis")
    odd.loc[0, "size"] = "large"
    assert cli.main(["predict", str(run.path), write(tmp_path, odd)]) == 0
    err = capsys.readouterr().err
    assert "5 cells of" in err
    assert "have a level that train lacks: 5 of 'town'" in err
    assert "1 cells of" in err
    assert "do not fit their column and are missing: 1 of 'size'" in err
    assert cli.main(["predict", str(run.path), "7"]) == 2
    assert (
        "give a table (CSV, TSV, JSON lines or parquet) with the columns size, town, stars" in capsys.readouterr().err
    )


def test_errors_are_told_in_the_units_of_the_target_beside_boosted_trees(run: dlrun.api.Run) -> None:
    found = run.evaluate("test")
    assert run.summary["test"]["mae"] == pytest.approx(found["targets"][0]["mae"], rel=1e-4)
    assert run.summary["baseline"]["mae"] > 50_000
    rival = run.summary["rival"]
    assert rival["of"] == "boosted trees"
    assert 0.8 < rival["r2"] < 1
    assert "boosted trees" in (run.path / "train.log").read_text(encoding="utf-8")
    schema = (run.path / "schema.yaml").read_text(encoding="utf-8")
    assert "  town:\n    type: category" in schema


def test_a_schema_is_given_back_edited(run: dlrun.api.Run, tmp_path: Path) -> None:
    text = (run.path / "schema.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("  stars:\n    type: number", "  stars:\n    type: category"))
    data = table(seed=0, path=write(tmp_path, houses()), target="price", schema=str(tmp_path / "mine.yaml"))
    assert {"stars=1", "stars=5", "stars=missing"} <= set(data.spec.feature_names)
    for wrong, said in (
        ("columns: [a]", "has no mapping `columns`"),
        ("columns: {size: {tpye: number}}", "Did you mean type"),
        ("columns: {size: {type: nmber}}", "column 'size': there is no type 'nmber'. Did you mean number"),
        ("a: &a [*a]", "holds references"),
        ("columns: {size: 3}", "is 3, and not a mapping"),
    ):
        (tmp_path / "mine.yaml").write_text(wrong)
        with pytest.raises(dlrun.errors.DataError, match=said):
            table(seed=0, path=write(tmp_path, houses()), target="price", schema=str(tmp_path / "mine.yaml"))


def test_the_cache_gives_the_same_data_until_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "root"))
    path = write(tmp_path, houses())
    made = table(seed=0, path=path, target="price", cache=True)
    again = table(seed=0, path=path, target="price", cache=True)
    assert any("read from the cache" in note for note in again.notes)
    assert made.spec == again.spec
    assert made.files == again.files
    for name, part in made.parts().items():
        assert torch.equal(part.inputs[0], again.parts()[name].inputs[0])
        assert torch.equal(part.target, again.parts()[name].target)
    table(seed=1, path=path, target="price", cache=True)
    table(seed=0, path=write(tmp_path, houses(seed=9)), target="price", cache=True)
    assert len(entries()) == 3
    for folder, _ in entries():
        (folder / READY).write_text("{")
    fresh = table(seed=0, path=write(tmp_path, houses()), target="price", cache=True)
    assert not any("read from the cache" in note for note in fresh.notes)
    assert cli.main(["cache", "clear"]) == 0
    assert entries() == []


def test_parquet_needs_its_extra_or_reads_the_same(tmp_path: Path) -> None:
    frame = houses().assign(stars=lambda f: pandas.to_numeric(f["stars"]))
    plain = table(seed=0, path=write(tmp_path, frame), target="price")
    pytest.importorskip("pyarrow", reason="parquet is an extra")
    frame.to_parquet(tmp_path / "t.parquet")
    other = table(seed=0, path=str(tmp_path / "t.parquet"), target="price")
    assert torch.allclose(other.train.inputs[0], plain.train.inputs[0])


def test_parquet_without_pyarrow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ImportError("pyarrow")

    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr("pandas.read_parquet", refuse)
    with pytest.raises(dlrun.errors.DataError, match=r"pip install 'dlrun\[parquet\]'"):
        read_table(str(tmp_path / "t.parquet"), Reading())


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_net_is_as_good_as_that_of_scikit_learn(task: str, tmp_path: Path) -> None:
    """Same layers, Adam, batch, epochs and rows, no weight decay: the mean difference over ten seeds."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    frame = houses(600).assign(dear=lambda f: np.where(f["price"] > f["price"].median(), "yes", "no"))
    target = "dear" if task == "classification" else "price"
    path = write(tmp_path, frame.drop(columns="price" if task == "classification" else "dear"))
    differences = []
    for seed in range(10):
        words = [f"dataset.path={path}", f"dataset.target={target}", f"seed={seed}", "dataset.split_seed=0"]
        words += ["model.hidden=[32]", "optimizer.lr=0.005", "trainer.epochs=30", "dataset.val_fraction=0"]
        run = dlrun.train([*QUICK[:1], "device=cpu", "dataset=table", "dataset.baseline=none", *words,
                           f"run.dir={tmp_path / f'{task}{seed}'}"])  # fmt: skip
        data = table(seed=seed, path=path, target=target, split_seed=0, val_fraction=0.0)
        assert data.test is not None
        ready = Preparation(data.spec)
        (x,), y = ready(data.train.inputs, data.train.target)
        estimator = MLPClassifier if task == "classification" else MLPRegressor
        options = {"learning_rate_init": 0.005, "max_iter": 30, "batch_size": 64, "alpha": 0, "tol": 0}
        theirs = estimator(hidden_layer_sizes=(32,), random_state=seed, n_iter_no_change=1000, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.fit(x.numpy(), y.numpy().ravel())
        said = theirs.predict(ready.prepare_inputs(data.test.inputs)[0].numpy())
        last = run.evaluate("test", "last")
        if task == "classification":
            reached = float((said == data.test.target.numpy()).mean())
            differences.append(last["metrics"]["accuracy"] - reached)
        else:
            values = ready.restore_target(torch.from_numpy(said)[:, None].float()).numpy()
            rmse = float(np.sqrt(((values - data.test.target.numpy()) ** 2).mean()))
            differences.append(last["targets"][0]["rmse"] / rmse - 1)
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
    bound = 0.02 if task == "classification" else 0.05
    assert np.mean(differences) - half < bound
    assert np.mean(differences) + half > -bound
    assert abs(np.mean(differences)) < bound


def test_a_table_with_other_levels_is_said_when_a_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = houses().assign(stars="1").drop(columns="stars")
    path = write(tmp_path, frame)
    words = [
        *QUICK[:3],
        "trainer.epochs=2",
        "device=cpu",
        "dataset=table",
        f"dataset.path={path}",
        "dataset.target=price",
    ]
    dlrun.train([*words, f"run.dir={tmp_path / 'run'}"])
    changed = "what was fitted on them, are not what they were when the run began"
    assert cli.main(["resume", str(tmp_path / "run"), "trainer.epochs=3"]) == 0
    assert changed not in capsys.readouterr().out
    write(tmp_path, frame.replace({"town": {"Bern": "Zug"}}))
    assert cli.main(["resume", str(tmp_path / "run"), "trainer.epochs=4"]) == 0
    assert changed in capsys.readouterr().out

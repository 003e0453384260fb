"""mistakes.json: the worst predictions and the first rows of the part on which a run is measured."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import dlrun
from dlrun.run.samples import TOLD, Samples
from dlrun.spec import Batch, DataSpec

QUIET = ["trainer.epochs=1", "device=cpu", "device.threads=1", "run.dir=run"]


def stored(words: list[str], monkeypatch: pytest.MonkeyPatch, place: Path) -> dict[str, object]:
    monkeypatch.chdir(place)
    dlrun.train([*words, *QUIET], quiet=True)
    return json.loads(Path("run/mistakes.json").read_text())


def test_of_a_table_the_rows_are_those_of_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(["dataset=diabetes", "model=linear"], monkeypatch, tmp_path)
    dlrun.load_run("run").evaluate("test")
    frame = pandas.read_csv("run/evaluations/test/predictions.csv")
    error = (frame["true"] - frame["prediction"]).abs()
    worst = found["worst"]
    assert [row["row"] for row in worst[:5]] == list(error.sort_values(ascending=False).index[:5])
    assert [row["error"] for row in worst[:5]] == pytest.approx(sorted(error, reverse=True)[:5], rel=1e-4)
    assert found["columns"][:3] == ["age", "sex", "bmi"]
    assert 18 < worst[0]["input"][0] < 80, "an age, not a standardized one"
    assert (found["part"], found["rows"], found["wrong"]) == ("test", len(frame), None)


def test_of_texts_the_surest_mistakes_are_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["dataset=names", "dataset.source=builtin", "model=gru", "model.hidden_size=8"]
    found = stored(words, monkeypatch, tmp_path)
    rows = found["worst"]
    chances = [row["probability"] for row in rows]
    assert chances == sorted(chances, reverse=True)
    assert all(row["true"] != row["predicted"] for row in rows)
    assert all(row["input"][0].strip() for row in rows)
    assert found["wrong"] >= len(rows) > 0
    assert [row["row"] for row in found["samples"]] == list(range(10))


@pytest.mark.figures
def test_of_images_there_are_small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(["dataset=digits"], monkeypatch, tmp_path)
    assert found["worst"] == [], "they are in mistakes.png"
    picture = Image.open(io.BytesIO(base64.b64decode(found["samples"][0]["image"])))
    assert picture.size == (8, 8)
    assert np.asarray(picture).max() > 200


def test_rows_are_found_again_in_their_batches_and_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.run.samples.MOST_NUMBERS", 20)
    samples = Samples(DataSpec("d", "regression", "tabular", (2,), 1))
    for start in (0, 4, 8, 12):
        rows = torch.arange(start, start + 4.0)[:, None]
        samples(Batch((rows.expand(4, 2),), rows), rows)
    assert len(samples.outputs) == 8, "two batches of 12 numbers"
    assert [float(row[0][0]) for row in samples.rows([0, 5, 3])] == [0, 5, 3]


def test_tags_and_unknown_classes_are_told() -> None:
    tags = DataSpec("d", "multilabel", "tabular", (2,), 3, target_names=("a", "b", "c"))
    told, badness, wrong = TOLD["multilabel"](
        tags, torch.tensor([[0.9, 0.1, 0.8], [0.1, 0.9, 0.1]]), torch.tensor([[1.0, 1.0, -1.0], [0.0, 1.0, 0.0]])
    )
    assert told(0) == {"true": "a, b", "predicted": "a, c", "error": 1}, "an unknown tag is not wrong"
    assert (badness.tolist(), wrong) == ([1, 0], 1)
    classes = DataSpec("d", "classification", "tabular", (2,), 2, labels=("x", "y"))
    told, badness, wrong = TOLD["classification"](classes, torch.tensor([[0.2, 0.8]] * 2), torch.tensor([-100, 0]))
    assert told(0)["true"] == "unknown"
    assert (badness.tolist(), wrong) == ([0, pytest.approx(0.8)], 1)


@pytest.mark.parametrize(
    ("task", "kind", "outputs", "targets", "told"),
    [
        ("classification", "tabular", (4, 3), (4,), True),
        ("classification", "tabular", (4, 3), (4, 3), False),  # mixed classes
        ("regression", "tabular", (4, 3), (4, 1), False),  # quantiles
        ("regression", "multi", (4, 1), (4, 1), False),
        ("multilabel", "text", (4, 3), (4, 3), True),
        ("labelling", "text", (4, 3), (4,), False),
    ],
)
def test_only_rows_with_one_answer_are_told(
    task: str, kind: str, outputs: tuple[int, ...], targets: tuple[int, ...], told: bool
) -> None:
    samples = Samples(DataSpec("d", task, kind, (2,), 3))
    samples(Batch((torch.zeros(4, 2),), torch.zeros(targets)), torch.zeros(outputs))
    assert samples.is_told() == told

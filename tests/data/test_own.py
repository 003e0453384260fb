"""A user's own arrays and tables as data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

import dlrun
from dlrun import cli
from dlrun.data.own import from_dataset
from dlrun.errors import DataError
from tests.helpers.quick_runs import QUICK

PLUGIN = """
import dlrun, numpy

@dlrun.register.dataset("mine")
def mine(rows: int = 60):
    x = numpy.random.default_rng(0).normal(size=(rows, 3))
    return {what}
"""


def table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    numbers = {"size": draw.normal(100, 20, 50), "price": draw.normal(5, 1, 50)}
    return pd.DataFrame({**numbers, "town": ["Rome", "Oslo"] * 25, "sold": ["yes"] * 25 + ["no"] * 25})


def test_a_frame_has_three_parts_and_features_scaled_by_train() -> None:
    data = dlrun.from_frame(table().drop(columns="sold"), "price")
    assert data.spec.task == "regression"
    assert data.spec.feature_names == ("size", "town_Oslo", "town_Rome")
    assert [part.samples for part in data.parts().values()] == [32, 8, 10]
    fitted = data.spec.preprocessing["inputs"][0][0]
    assert fitted["mean"][0] == pytest.approx(float(data.train.inputs[0][:, 0].mean()), rel=1e-5)


def test_texts_are_classes_and_missing_values_are_named() -> None:
    frame = table()
    assert dlrun.from_frame(frame, "sold").spec.labels == ("no", "yes")
    with pytest.raises(DataError, match="Did you mean price"):
        dlrun.from_frame(frame, "prise")
    frame.loc[3, "size"] = np.nan
    with pytest.raises(DataError, match="missing in size"):
        dlrun.from_frame(frame, "price")


def test_a_dataset_of_torchs_is_read_with_its_rows_split() -> None:
    inputs, target = torch.rand(50, 3), torch.arange(50) % 2
    data = from_dataset(TensorDataset(inputs, target), seed=0)
    assert [part.samples for part in data.parts().values()] == [32, 8, 10]
    assert data.spec.labels == ("0", "1")
    assert set(map(tuple, data.train.inputs[0].tolist())) <= set(map(tuple, inputs.tolist()))
    with pytest.raises(DataError, match=r"is no \(input, target\), but a Tensor"):
        from_dataset(torch.utils.data.Subset(inputs, range(5)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="cannot be stacked"):
        from_dataset(torch.utils.data.Subset([(torch.rand(n), 1) for n in (2, 3)], [0, 1]))  # type: ignore[arg-type]


def test_arrays_say_what_they_are() -> None:
    images = torch.randint(0, 255, (40, 1, 4, 4), dtype=torch.uint8)
    data = dlrun.from_arrays(images, [0, 1] * 20)
    assert (data.spec.input_kind, data.spec.task, data.spec.preprocessing["inputs"]) == (
        "image", "classification", [[{"name": "scale", "by": 255.0}]],
    )  # fmt: skip
    assert dlrun.from_arrays(np.ones((9, 2)) * np.arange(9)[:, None], np.arange(9.0)).spec.task == "regression"
    with pytest.raises(DataError, match=r"inputs \(9,\) are no rows"):
        dlrun.from_arrays(np.ones(9), np.ones(9))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["(x, x[:, 0])", "dlrun.from_arrays(x, (x[:, 0] > 0).astype(int))"])
def test_a_function_without_a_seed_may_return_arrays(what: str) -> None:
    Path("mine.py").write_text(PLUGIN.replace("{what}", what))
    assert cli.main(["plugins=[mine.py]", "dataset=mine", "run.dir=a", "--quiet", *QUICK]) == 0


@pytest.mark.usefixtures("quick")
def test_what_is_no_data_is_named_with_what_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(PLUGIN.replace("{what}", "[1, 2]"))
    assert cli.main(["plugins=[mine.py]", "dataset=mine", *QUICK]) == 2
    err = capsys.readouterr().err
    assert "mine returned a list, not a dlrun.Data" in err
    assert "dlrun.from_frame" in err

"""Arrays as inputs of a trained model, from files and from Python: checked before the model sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from dlrun.api import Run
from dlrun.assembly.assemble import build_data
from dlrun.data.vocabulary import Vocabulary
from dlrun.errors import ConfigError, DataError
from dlrun.inference.encode import Encoder
from dlrun.inference.row import Row

Trained = Callable[[str], Run]


def probabilities(frame: pandas.DataFrame) -> list[float]:
    return frame["probability"].tolist()


def test_codes_and_lengths_answer_as_the_texts_do_also_without_lengths_and_beside_texts(
    trained: Trained, tmp_path: Path
) -> None:
    run = trained("names")
    codes, lengths = (x.numpy() for x in Vocabulary.of(run.spec).apply(["Rossi", "Ito"]))
    expected = pytest.approx(probabilities(run.predict(["Rossi", "Ito"])), abs=1e-6)
    assert probabilities(run.predict((codes, lengths))) == expected
    assert probabilities(run.predict(codes)) == expected
    np.savez(tmp_path / "two.npz", codes, lengths)
    np.save(tmp_path / "one.npy", codes)
    for file in ("two.npz", "one.npy"):
        assert probabilities(run.predict(tmp_path / file)) == expected
    rows = run.predict(["Papadopoulos", "Ito"])
    (mixed, counted), places, bad = Encoder(run.spec)([Row("0", (codes[0], lengths[0])), Row("1", "Papadopoulos")])
    assert (places, bad, counted.tolist()) == ([0, 1], {}, [5, 12])
    assert run.predictor()(mixed, counted)[1].max().item() == pytest.approx(probabilities(rows)[0], abs=1e-6)


def test_files_of_arrays_and_images_are_predicted_together(trained: Trained, tmp_path: Path) -> None:
    run = trained("digits")
    part = build_data(run.config).test
    assert part is not None
    pixels = part.inputs[0][:2].numpy()
    np.save(tmp_path / "a.npy", pixels)
    Image.fromarray((pixels[0, 0] * (255 / 16)).round().astype(np.uint8)).save(tmp_path / "b.png")
    frame = run.predict([tmp_path / "b.png", tmp_path / "a.npy"])
    expected = probabilities(run.predict(pixels))
    assert probabilities(frame) == pytest.approx([expected[0], *expected], abs=1e-6)
    for same in (pixels.astype(np.float64), pixels.astype(">i4"), torch.from_numpy(pixels), pixels.tolist()):
        assert probabilities(run.predict(same)) == pytest.approx(expected, abs=1e-6)
    assert len(run.predict(pixels[:0])) == 0


def test_a_row_that_is_not_finite_does_not_stop_the_rest(trained: Trained) -> None:
    frame = trained("regression").predict(np.array([[1.0] * 10, [np.nan] * 10, [1e300] * 10]))
    assert frame["error"].tolist() == ["", "holds NaN or infinity.", "holds NaN or infinity."]
    assert isinstance(frame["prediction"][0], float)
    words = trained("regression").predict(",".join(["1"] * 9 + ["1e39"]))
    assert words["error"].tolist() == ["s6: 1e39 is not finite."]


@pytest.mark.parametrize(
    ("name", "arrays", "said"),
    [
        ("digits", (np.full((1, 1, 8, 8), 0.5),), "pixels from 0 to 1, but the data set stores 0 to 16"),
        ("digits", (np.zeros((8, 8)),), r"rows of shape \(8,\), but the model takes \(1, 8, 8\)"),
        ("digits", (np.array(3.0),), "holds a single number"),
        ("digits", (np.zeros((1, 1, 8, 8), complex),), "holds complex128, not numbers"),
        ("masks", (np.zeros((2, 1, 16, 16)),), "holds 1 array, but the model takes 2"),
        ("masks", (np.zeros((2, 1, 16, 16)), np.zeros((3, 1, 16, 16))), "its arrays have 2, 3 rows"),
        ("names", (np.array([[900]]), np.array([1])), "codes from 900 to 900, but the model knows 0 to "),
        ("names", (np.array([[5, 6]]), np.array([3])), "lengths from 3 to 3, not within 1 to 2"),
        ("names", (np.array([[0.5]]), np.array([1])), "texts as arrays are whole numbers"),
    ],
)
def test_arrays_that_are_not_as_stored_are_refused(
    name: str, arrays: tuple[np.ndarray, ...], said: str, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"predict: {said}"):
        trained(name).predict(arrays)
    np.savez(tmp_path / "a.npz", *arrays)
    with pytest.raises(DataError, match=f"a.npz: {said}"):
        trained(name).predict(tmp_path / "a.npz")


def test_what_stands_for_inputs_in_python(trained: Trained) -> None:
    run = trained("names")
    expected = probabilities(run.predict(["Rossi"]))
    frame = pandas.DataFrame({"id": [1], "name": ["Rossi"]})
    for inputs in ("Rossi", iter(["Rossi"]), pandas.Series(["Rossi"]), np.array(["Rossi"]), frame):
        assert probabilities(run.predict(inputs)) == expected
    rows = run.predict(["Rossi", None, 3])
    assert rows["error"].tolist() == ["", "None is no text or path.", "3 is no text or path."]
    for nothing in (None, 5, b"abc", {"a": 1}, {"Rossi"}):
        with pytest.raises(DataError, match="stands for no inputs"):
            run.predict(nothing)
    with pytest.raises(DataError, match="the list is no array of numbers"):
        trained("regression").predict([[1, 2], [3]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top": 0}, "--top: takes a whole number from 1, not 0"),
        ({"batch_size": 0}, "--batch-size: takes a whole number from 1, not 0"),
        ({"threshold": 0.5}, "--threshold: goes with two classes or tags; names has neither"),
        ({"invert": True}, "--invert: goes with images; names has none"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, float], said: str, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=said):
        trained("names").predict("Rossi", **options)  # type: ignore[arg-type]

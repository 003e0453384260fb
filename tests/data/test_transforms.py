"""Steps from rows as stored to model inputs and back: what was fitted, what travels, what older versions wrote."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dlrun.data.transforms import TRANSFORMS, Preparation, Scale, Standardize, Transform, read_steps, write_steps
from dlrun.data.vocabulary import LabelMap, Vocabulary
from dlrun.errors import DataError
from dlrun.spec import DataSpec

ROWS = torch.tensor([[1.0, -8.0], [3.0, 4.0], [8.0, 0.5]])


@pytest.mark.parametrize("step", [Scale.fit(ROWS), Standardize.fit(ROWS)], ids=lambda step: step.name)
def test_a_step_is_undone_and_made_again_from_plain_values(step: Transform) -> None:
    again = TRANSFORMS[step.name](**step.state())
    ready = again.apply(ROWS)
    assert torch.equal(ready, step.apply(ROWS))
    assert not torch.equal(ready, ROWS)
    assert torch.allclose(again.inverse(ready), ROWS, atol=1e-6)
    own = ROWS.clone()
    assert torch.equal(again.apply(own, inplace=True), ready)


@pytest.mark.parametrize(
    ("former", "rows"),
    [
        ({"scale": 16.0}, torch.tensor([[[[0, 8, 16]]]], dtype=torch.uint8)),
        ({"scale": 255.0, "mean": [0.5], "std": [0.25]}, torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)),
        ({"mean": [1.0, 2.0], "std": [2.0, 3.0]}, ROWS),
        (None, ROWS),
    ],
)
def test_the_former_dictionary_of_a_checkpoint_means_the_same_steps(former: dict[str, object], rows: Tensor) -> None:
    kind = "image" if rows.ndim == 4 else "tabular"
    spec = DataSpec("x", "regression", kind, tuple(rows.shape[1:]), 1, preprocessing={"inputs": [former]})
    now = spec.replace(preprocessing=Preparation(spec).state())
    assert all("name" in step for steps in now.preprocessing.get("inputs", []) for step in steps)
    (old,), (new,) = Preparation(spec).prepare_inputs((rows,)), Preparation(now).prepare_inputs((rows,))
    expected = rows.float()
    for key, undo in (("scale", lambda x, by: x / by), ("mean", lambda x, by: x - torch.tensor(by))):
        expected = undo(expected, former[key]) if former and key in former else expected
    expected = expected / torch.tensor(former["std"]) if former and "std" in former else expected
    assert torch.equal(old, new)
    assert torch.allclose(old, expected)


def test_a_step_of_a_later_version_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match=r"no step named 'scales'\. Did you mean scale"):
        read_steps([{"name": "scales", "by": 2.0}])
    assert write_steps(read_steps([{"name": "scale", "by": 2.0}])) == [{"name": "scale", "by": 2.0}]


def test_classes_and_texts_come_back_and_strange_classes_are_named() -> None:
    labels = LabelMap.fit(["b", "a", "b"])
    assert labels.apply(["b", "a"]).tolist() == [1, 0]
    assert labels.inverse(torch.tensor([1, 0])) == ["b", "a"]
    with pytest.raises(DataError, match=r"did not show: c\."):
        labels.apply(["a", "c"])
    words = Vocabulary.fit(["abc", "cad"])
    assert words.inverse(words.apply(["dab", "c"])[0]) == ["dab", "c"]
    assert dict(words.unknown(["axxy"])) == {"x": 2, "y": 1}
    for values in ({"ascii": True}, {"inputs": [[Vocabulary((), ascii=True).state()]]}):  # the former form, today's
        spec = DataSpec("x", "classification", "text", (3,), 2, vocabulary=words.characters, preprocessing=values)
        assert Vocabulary.of(spec).ascii

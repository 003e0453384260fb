"""A part whose targets are all ignored teaches and measures nothing: it is refused, and never the best loss."""

from __future__ import annotations

import math

import pytest
import torch

from dlrun.config.compose import compose
from dlrun.data.base import Data, Split, check_targets, from_parts
from dlrun.engine.evaluation import evaluate
from dlrun.errors import DataError
from dlrun.objectives.losses import cross_entropy
from dlrun.objectives.metrics import Classification
from dlrun.run.build import build
from tests.helpers.steps import TABLE, Batch, Rows, batches_of, small_mlp, state_of


def labelled(name: str, value: int) -> Data:
    """Twelve rows of two positions, labelled 0 and 1; in one part every target is `value`."""
    parts = {
        part: Split((torch.rand(12, 3, 2),), torch.arange(24).reshape(12, 2) % 2) for part in ("train", "val", "test")
    }
    parts[name].target.fill_(value)
    return from_parts("marks", "labelling", "image", **parts, labels=["a", "b"])


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_part_with_no_target_that_counts_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"dataset marks: every target of the {name} part is -100, which the loss"):
        check_targets(labelled(name, -100), None)
    with pytest.raises(DataError, match=f"every target of the {name} part is 1, which the loss ignores"):
        check_targets(labelled(name, 1), 1)
    check_targets(labelled(name, 1), None)
    check_targets(labelled(name, 1), 0)


def test_unknown_labels_alone_are_refused() -> None:
    rows = Split((torch.rand(4, 3),), torch.tensor([[0.0, 1.0], [1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    nothing = Split(rows.inputs, torch.full((4, 2), -1.0))
    check_targets(from_parts("tags", "multilabel", "tabular", rows, rows), None)
    with pytest.raises(DataError, match="every target of the val part is unknown"):
        check_targets(from_parts("tags", "multilabel", "tabular", rows, nothing), None)


def test_a_run_does_not_begin_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number that the chosen loss ignores."""
    monkeypatch.setattr("dlrun.data.sklearn_sets.iris", lambda **_: _flowers())
    words = ["dataset=iris", "model=linear", "loss=cross_entropy", "device=cpu"]
    build(compose(words))
    with pytest.raises(DataError, match="every target of the val part is 2, which the loss ignores"):
        build(compose([*words, "loss.ignore_index=2"]))


def _flowers() -> Data:
    rows = Split((torch.rand(9, 4),), torch.arange(9) % 3)
    return from_parts("iris", "classification", "tabular", rows, rows.take([2, 5, 8]), rows, labels=["a", "b", "c"])


def test_batches_of_ignored_targets_have_no_loss() -> None:
    """As where `trainer.max_batches` leaves no others: 0 would be the best loss that there is."""
    state = state_of(small_mlp)
    state.loss, state.metric = cross_entropy(ignore_index=-100), Classification(TABLE)
    rows = [Batch(batch.inputs, torch.full_like(batch.target, -100)) for batch in batches_of(TABLE)]
    found = evaluate(state, Rows(rows))
    assert found is not None
    assert math.isnan(found.metrics["loss"])
    whole = evaluate(state, Rows([*rows, *batches_of(TABLE)]))
    assert whole is not None
    assert 0 < whole.metrics["loss"] < 10

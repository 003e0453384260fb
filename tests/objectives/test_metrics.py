"""Metrics: equal to scikit-learn's, and counts that add up however the batches are cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from dlrun.components.registry import METRICS
from dlrun.engine.evaluation import total_of
from dlrun.errors import ConfigError
from dlrun.objectives.collection import MetricCollection
from dlrun.objectives.losses import bce, bce_with_logits, cross_entropy
from dlrun.objectives.metrics import Classification, Multilabel, Regression, metric_for
from dlrun.spec import IGNORE_INDEX, DataSpec

N, C, K, T = 23, 5, 3, 6


def spec(task: str, outputs: int, shape: tuple[int, ...] = (2,)) -> DataSpec:
    return DataSpec("d", task, "tabular", shape, outputs)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(*shape: int, high: int = C) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(1))


def summed(metric: Any, output: Tensor, target: Tensor, size: int, kind: str = "counts") -> Tensor:
    """The counts of the rows in batches of that size, together."""
    rows = [getattr(metric, kind)(o, t) for o, t in zip(output.split(size), target.split(size), strict=True)]
    return total_of(metric, rows)


def test_classification_equals_scikit_learn() -> None:
    output, target = rand(N, C), classes(N, high=C - 1)  # class 4 never occurs
    output[:, 2] = -9  # class 2 is never predicted
    metric = Classification(spec("classification", C), cross_entropy())
    counts = metric.counts(output, target)
    predicted = output.argmax(1)
    result = metric.result(counts)
    assert tuple(result) == metric.names
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(target, predicted, average="macro", zero_division=0))
    assert metric.confusion(counts) == sk.confusion_matrix(target, predicted, labels=range(C)).tolist()


def test_a_class_that_never_occurs_is_not_in_macro_f1() -> None:
    output = torch.eye(3)[[0, 1, 1]]
    metric = Classification(spec("classification", 3))
    assert metric.result(metric.counts(output, torch.tensor([0, 1, 1])))["macro_f1"] == 1.0


@pytest.mark.parametrize("size", [1, 4, 10, N])
def test_integer_counts_do_not_depend_on_the_batches_T03(size: int) -> None:
    metric = Classification(spec("classification", C))
    output, target = rand(N, C), classes(N)
    assert torch.equal(summed(metric, output, target, size), metric.counts(output, target))
    whole = metric.train_counts(output, target)
    assert torch.equal(summed(metric, output, target, size, "train_counts"), whole)
    accuracy = sk.accuracy_score(target, output.argmax(1))
    # The engine keeps the sums as plain numbers and hands them back as float64.
    assert metric.train_result(whole.double())["accuracy"] == pytest.approx(accuracy)


def test_one_output_is_cut_at_half() -> None:
    logits, target = rand(N, 1), classes(N, 1, high=2).float()
    logits[0] = 0.0
    as_logits = Classification(spec("classification", 1), bce_with_logits())
    as_probabilities = Classification(spec("classification", 1), bce())
    counts = as_logits.counts(logits, target)
    assert torch.equal(counts, as_probabilities.counts(logits.sigmoid(), target))
    expected = sk.confusion_matrix(target[:, 0], (logits[:, 0] >= 0).int()).tolist()
    assert as_logits.confusion(counts) == expected
    right, total = as_probabilities.train_counts(logits.sigmoid(), target).tolist()
    assert (right, total) == (expected[0][0] + expected[1][1], N)


def test_padding_counts_nothing_in_labelling() -> None:
    output, target = rand(N, C, T), classes(N, T)
    target[0], target[3, 2:] = IGNORE_INDEX, IGNORE_INDEX
    metric = Classification(spec("labelling", C), cross_entropy())
    kept = target != IGNORE_INDEX
    expected = sk.confusion_matrix(target[kept], output.argmax(1)[kept], labels=range(C)).tolist()
    assert metric.confusion(metric.counts(output, target)) == expected
    assert metric.train_counts(output, target)[1] == kept.sum()
    assert not metric.countable  # padded batches differ in length: outputs cannot be joined


def test_the_losss_ignore_index_is_the_metrics() -> None:
    metric = Classification(spec("classification", C), cross_entropy(ignore_index=2))
    target = classes(N)
    assert metric.counts(rand(N, C), target).sum() == (target != 2).sum()


def test_multilabel_equals_scikit_learn() -> None:
    output, target = rand(N, K), (rand(N, K, seed=4) > 0).float()
    metric = Multilabel(spec("multilabel", K), bce_with_logits())
    counts = summed(metric, output, target, 7)
    predicted = (output >= 0).int()
    result = metric.result(counts)
    assert tuple(result) == metric.names
    assert result["accuracy"] == pytest.approx((predicted == target).float().mean().item())
    assert result["subset_accuracy"] == pytest.approx(sk.accuracy_score(target.int(), predicted))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(target.int(), predicted, average="macro"))
    assert metric.confusion(counts) is None
    assert metric.train_result(metric.train_counts(output, target)) == {"accuracy": result["accuracy"]}


@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_unknown_labels_count_nothing(unknown: float) -> None:
    target = torch.tensor([[1.0, unknown], [0.0, 1.0], [unknown, unknown]])
    output = torch.tensor([[0.9, 0.9], [0.1, 0.2], [0.9, 0.1]])
    metric = Multilabel(spec("multilabel", 2), bce(masked=True))
    result = metric.result(metric.counts(output, target))
    assert result["accuracy"] == pytest.approx(2 / 3)  # of 3 known labels
    assert result["subset_accuracy"] == pytest.approx(2 / 3)  # of 3 samples
    assert metric.train_counts(output, target).tolist() == [2, 3]


@pytest.mark.parametrize("outputs", [1, K])
def test_regression_equals_scikit_learn(outputs: int) -> None:
    output, target = rand(N, outputs), rand(N, outputs, seed=5) * 3 + 20
    metric = Regression(spec("regression", outputs))
    for size in (1, 5, N):
        result = metric.result(summed(metric, output, target, size))
        assert tuple(result) == metric.names
        assert result["mae"] == pytest.approx(sk.mean_absolute_error(target, output))
        assert result["r2"] == pytest.approx(sk.r2_score(target.double(), output.double()))
    assert metric.train_result(metric.train_counts(output, target)) == pytest.approx(result)


def test_r2_where_it_has_no_spread() -> None:
    metric = Regression(spec("regression", 1))
    constant = torch.full((4, 1), 0.1)
    assert metric.result(metric.counts(constant, constant))["r2"] == 1.0
    assert metric.result(metric.counts(constant + 1, constant))["r2"] == 0.0
    one = metric.result(metric.counts(constant[:1], constant[:1]))
    assert one["mae"] == 0.0
    assert one["r2"] != one["r2"]


def test_reconstructions_have_their_error_alone() -> None:
    output, target = rand(N, 1, 4, 4), rand(N, 1, 4, 4, seed=5)
    metric = Regression(spec("reconstruction", 16, (1, 4, 4)))
    assert metric.names == ("mae",)
    result = metric.result(summed(metric, output, target, 5))
    assert result == {"mae": pytest.approx((output - target).abs().mean().item())}


def test_nothing_counted_is_nan_not_an_error() -> None:
    metric = Classification(spec("labelling", C))
    nothing = metric.counts(rand(1, C, T), torch.full((1, T), IGNORE_INDEX))
    result = metric.result(nothing)
    assert all(value != value for value in result.values())


@pytest.mark.parametrize(
    ("task", "outputs", "kind"),
    [
        ("classification", 3, Classification),
        ("labelling", 3, Classification),
        ("multilabel", 3, Multilabel),
        ("regression", 1, Regression),
        ("reconstruction", 4, Regression),
    ],
)
def test_every_task_has_its_metric(task: str, outputs: int, kind: type) -> None:
    assert METRICS.get(metric_for(spec(task, outputs))) is kind


class Confidence:
    """What a user may register: the mean of the largest output."""

    names = ("confidence",)

    def __init__(self, spec: DataSpec, loss: Any) -> None:
        pass

    def counts(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.stack([output.amax(1).sum(), torch.tensor(float(len(output)))])

    def result(self, counts: Tensor) -> dict[str, float]:
        return {"confidence": (counts[0] / counts[1]).item()}


def test_a_users_metric_is_evaluated_beside_the_tasks() -> None:
    output, target = rand(N, C), classes(N)
    main = Classification(spec("classification", C))
    both = MetricCollection(main, [Confidence(spec("classification", C), None)])
    counts = summed(both, output, target, 4)
    expected = main.result(main.counts(output, target)) | {"confidence": output.amax(1).mean().item()}
    assert both.result(counts) == pytest.approx(expected)
    assert both.names == ("accuracy", "macro_f1", "confidence")
    assert both.confusion(counts) == main.confusion(main.counts(output, target))
    assert both.countable
    assert torch.equal(both.train_counts(output, target), main.train_counts(output, target))
    with pytest.raises(ConfigError, match="accuracy"):
        MetricCollection(main, [main])


@pytest.mark.parametrize("noise", [0.05, 0.5, 5.0])
def test_r2_where_the_mean_is_large_against_the_spread(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    target = 1e6 + 0.5 * torch.randn(1000, 2, dtype=torch.float64, generator=generator)
    output = target + noise * torch.randn(1000, 2, dtype=torch.float64, generator=generator)
    metric = Regression(DataSpec("t", "regression", "tabular", (2,), 2))
    expected = sk.r2_score(target, output)
    assert metric.result(summed(metric, output, target, 7))["r2"] == pytest.approx(expected, rel=1e-6)
    assert noise < 1 or expected < -50, "a hopeless model shows its negative R2"

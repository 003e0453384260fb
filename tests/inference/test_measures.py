"""What is measured of predictions equals scikit-learn's values, or what a hand computes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from dlrun.inference import measures

RANDOM = np.random.default_rng(3)


def test_by_class_equals_sklearn() -> None:
    true, said = RANDOM.integers(0, 4, 300), RANDOM.integers(0, 4, 300)
    rows = measures.by_class(metrics.confusion_matrix(true, said), list("abcd"))
    wanted = metrics.precision_recall_fscore_support(true, said)
    for key, values in zip(("precision", "recall", "f1", "support"), wanted, strict=True):
        assert [row[key] for row in rows] == pytest.approx(values.tolist())


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    row = measures.by_class(np.array([[3, 1], [0, 0]]), ["a", "b"])[1]
    assert np.isnan(row["recall"])
    assert (row["precision"], row["support"]) == (0.0, 0)
    never = measures.by_class(np.array([[3, 0], [2, 0]]), ["a", "b"])[1]
    assert (never["precision"], never["recall"], never["f1"]) == (0.0, 0.0, 0.0)


def test_calibration_by_hand() -> None:
    chances = np.array([[0.95, 0.05], [0.94, 0.06], [0.4, 0.6], [0.45, 0.55]])
    found = measures.calibration(chances, np.array([0, 1, 1, 1]))
    # two rows in the last bin but one (0.933 to 1), half of them right; one each in (0.533, 0.6] and (0.533, 0.6]
    assert [row["count"] for row in found["bins"]] == [2, 2]
    error = 0.5 * abs(0.575 - 1) + 0.5 * abs(0.945 - 0.5)
    assert found["expected_calibration_error"] == pytest.approx(error)
    sure = measures.calibration(np.array([[1.0, 0.0]]), np.array([0]))
    assert sure["expected_calibration_error"] == 0


def test_areas_and_threshold_equal_sklearn() -> None:
    target = RANDOM.integers(0, 2, 400)
    chances = np.clip(target * 0.3 + RANDOM.random(400) * 0.7, 0, 1)
    found = measures.binary_curves(chances, target)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(target, chances))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(target, chances))
    area = np.trapezoid(found["roc"]["true_positive_rate"], found["roc"]["false_positive_rate"])
    assert area == pytest.approx(found["roc_auc"], abs=0.01)
    best = measures.best_threshold(chances, target)
    assert best is not None
    tried = [metrics.f1_score(target, chances >= value) for value in np.unique(chances)]
    assert best["f1"] == pytest.approx(max(tried))
    assert metrics.f1_score(target, chances >= best["value"]) == pytest.approx(best["f1"])
    assert measures.best_threshold(chances, np.ones(400)) is None
    assert measures.binary_curves(chances, np.ones(400)) == {}


def test_regression_in_its_units_equals_sklearn() -> None:
    target = 1e6 + RANDOM.random((50, 2))
    said = target + RANDOM.normal(0, 0.2, (50, 2))
    for i, row in enumerate(measures.regression(said, target, ["a", "b"])):
        assert row["r2"] == pytest.approx(metrics.r2_score(target[:, i], said[:, i]), abs=1e-6)
        assert row["rmse"] == pytest.approx(metrics.root_mean_squared_error(target[:, i], said[:, i]))
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(target[:, i], said[:, i]))
    assert np.isnan(measures.regression(said, np.ones((50, 2)), ["a", "b"])[0]["r2"])


def test_unknown_tags_do_not_count() -> None:
    target, chances = np.array([[1.0, -1.0], [0.0, np.nan], [1.0, 1.0]]), np.array([[0.9, 0.9], [0.8, 0.9], [0.2, 0.7]])
    first, second = measures.by_tag(chances, target, ["a", "b"], 0.5)
    assert (first["precision"], first["recall"], first["support"]) == (0.5, 0.5, 2)
    assert (second["precision"], second["recall"], second["support"]) == (1.0, 1.0, 1)

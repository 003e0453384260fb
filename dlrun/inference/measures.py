"""What is measured of predictions beside the metrics of training: by class, by threshold, by confidence, by error.

Everything is a function of arrays: probabilities (N, C) or (N, K), targets, values in the units of the data, and row
weights (N,), None where all rows count alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrun.plain import Values

BINS = 15  # of the expected calibration error, equally wide
POINTS = 200  # of a curve that are kept


def by_class(matrix: np.ndarray, labels: Sequence[str]) -> list[Values]:
    """Precision, recall, F1 and support of each class of a confusion matrix (C, C), true classes by predicted ones.

    A quotient of zeros is 0 for precision and F1 of a class that occurs, NaN for the recall of one that does not.
    """
    right, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    rows = []
    for i, label in enumerate(labels):
        rows.append(
            {
                "class": label,
                "precision": _ratio(right[i], said[i], 0.0 if true[i] else np.nan),
                "recall": _ratio(right[i], true[i], np.nan),
                "f1": _ratio(2 * right[i], true[i] + said[i], np.nan),
                "support": true[i].item(),
            }
        )
    return rows


def calibration(chances: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Values:
    """The expected calibration error over the predicted class, in `BINS` bins of equal width, and the bins.

    Naeini, Cooper and Hauskrecht, AAAI 2015; Guo, Pleiss, Sun and Weinberger, ICML 2017, equation 3. A bin holds
    probabilities greater than its lower end; those that are empty are left out.
    """
    confidence, right = chances.max(1), chances.argmax(1) == target
    place = np.ceil(confidence * BINS).astype(int).clip(1, BINS) - 1
    each = np.ones(len(target)) if weight is None else weight
    bins = []
    error = 0.0
    for number in range(BINS):
        inside = place == number
        if inside.any():
            mean, share = (float(np.average(x[inside], weights=each[inside])) for x in (confidence, right))
            error += each[inside].sum() / each.sum() * abs(mean - share)
            bins.append({"confidence": mean, "accuracy": share, "count": int(inside.sum())})
    return {"expected_calibration_error": float(error), "bins": bins}


def binary_curves(chances: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Values:
    """The ROC curve and the precision-recall curve of the second class, by its probability (N,), with their areas.

    The area under the precision-recall curve is the average precision, as scikit-learn defines it. Empty where only one
    of the classes occurs.
    """
    if len(np.unique(target)) < 2:
        return {}
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    false, true, _ = roc_curve(target, chances, sample_weight=weight)
    precision, recall, _ = precision_recall_curve(target, chances, sample_weight=weight)
    return {
        "roc_auc": float(roc_auc_score(target, chances, sample_weight=weight)),
        "average_precision": float(average_precision_score(target, chances, sample_weight=weight)),
        "roc": {"false_positive_rate": thinned_curve(false), "true_positive_rate": thinned_curve(true)},
        "precision_recall": {"recall": thinned_curve(recall[::-1]), "precision": thinned_curve(precision[::-1])},
    }


def best_threshold(chances: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Values | None:
    """The threshold on the probability of the second class (N,) with the greatest F1, and that F1; None for one class.

    Of several that are equally good it is the greatest.
    """
    if len(np.unique(target)) < 2:
        return None
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(target, chances, sample_weight=weight)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)[:-1]
    place = len(f1) - 1 - int(f1[::-1].argmax())
    return {"value": float(thresholds[place]), "f1": float(f1[place])}


def regression(
    predicted: np.ndarray, target: np.ndarray, names: Sequence[str], weight: np.ndarray | None = None
) -> list[Values]:
    """RMSE, MAE and R2 of each target, in its own units: arrays (N, K). R2 of a constant target is NaN."""
    rows = []
    for i, name in enumerate(names):
        error, about = predicted[:, i] - target[:, i], target[:, i] - np.average(target[:, i], weights=weight)
        absolute, squared, spread = (
            float(np.average(each, weights=weight)) for each in (abs(error), error**2, about**2)
        )
        rows.append(
            {
                "target": name,
                "rmse": float(np.sqrt(squared)),
                "mae": absolute,
                "r2": 1 - squared / spread if spread > 0 else np.nan,
            }
        )
    return rows


def by_tag(
    chances: np.ndarray, target: np.ndarray, labels: Sequence[str], threshold: float, weight: np.ndarray | None = None
) -> list[Values]:
    """Precision, recall, F1 and support of each tag; targets below 0 or NaN are unknown."""
    rows = []
    for i, label in enumerate(labels):
        known = target[:, i] >= 0
        true, said = target[known, i] > 0.5, chances[known, i] >= threshold
        rows.append(by_class(two_by_two(true, said, None if weight is None else weight[known]), ["", label])[1])
    return rows


def two_by_two(true: np.ndarray, said: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """The confusion matrix (2, 2) of what is true and what is said, booleans (N,)."""
    each = np.ones(len(true), np.int64) if weight is None else weight
    return np.array([[each[(true == t) & (said == p)].sum() for p in (False, True)] for t in (False, True)])


def thinned_curve(values: np.ndarray) -> list[float]:
    """At most `POINTS` of a curve's values, the ends among them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int))
    return values[places].astype(float).tolist()


def _ratio(part: float, whole: float, nothing: float) -> float:
    return float(part / whole) if whole else float(nothing)

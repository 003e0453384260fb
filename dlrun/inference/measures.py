"""What is measured of predictions beside the metrics of training: by class, by threshold, by confidence, by error.

Everything is a function of arrays: probabilities (N, C) or (N, K), targets, values in the units of the data.
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
                "support": int(true[i]),
            }
        )
    return rows


def calibration(chances: np.ndarray, target: np.ndarray) -> Values:
    """The expected calibration error over the predicted class, in `BINS` bins of equal width, and the bins.

    Naeini, Cooper and Hauskrecht, AAAI 2015; Guo, Pleiss, Sun and Weinberger, ICML 2017, equation 3. A bin holds
    probabilities greater than its lower end; those that are empty are left out.
    """
    confidence, right = chances.max(1), chances.argmax(1) == target
    place = np.ceil(confidence * BINS).astype(int).clip(1, BINS) - 1
    bins = []
    error = 0.0
    for number in range(BINS):
        inside = place == number
        if inside.any():
            mean, share = float(confidence[inside].mean()), float(right[inside].mean())
            error += inside.mean() * abs(mean - share)
            bins.append({"confidence": mean, "accuracy": share, "count": int(inside.sum())})
    return {"expected_calibration_error": float(error), "bins": bins}


def two_classes(chances: np.ndarray, target: np.ndarray) -> Values:
    """The ROC curve and the precision-recall curve of the second class, by its probability (N,), with their areas.

    The area under the precision-recall curve is the average precision, as scikit-learn defines it. Empty where only one
    of the classes occurs.
    """
    if len(np.unique(target)) < 2:
        return {}
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    false, true, _ = roc_curve(target, chances)
    precision, recall, _ = precision_recall_curve(target, chances)
    return {
        "roc_auc": float(roc_auc_score(target, chances)),
        "average_precision": float(average_precision_score(target, chances)),
        "roc": {"false_positive_rate": thinned(false), "true_positive_rate": thinned(true)},
        "precision_recall": {"recall": thinned(recall[::-1]), "precision": thinned(precision[::-1])},
    }


def best_threshold(chances: np.ndarray, target: np.ndarray) -> Values | None:
    """The threshold on the probability of the second class (N,) with the greatest F1, and that F1; None for one class.

    Of several that are equally good it is the greatest.
    """
    if len(np.unique(target)) < 2:
        return None
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(target, chances)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)[:-1]
    place = len(f1) - 1 - int(f1[::-1].argmax())
    return {"value": float(thresholds[place]), "f1": float(f1[place])}


def regression(predicted: np.ndarray, target: np.ndarray, names: Sequence[str]) -> list[Values]:
    """RMSE, MAE and R2 of each target, in its own units: arrays (N, K). R2 of a constant target is NaN."""
    rows = []
    for i, name in enumerate(names):
        error, about = predicted[:, i] - target[:, i], target[:, i] - target[:, i].mean()
        spread = float((about**2).sum())
        rows.append(
            {
                "target": name,
                "rmse": float(np.sqrt((error**2).mean())),
                "mae": float(abs(error).mean()),
                "r2": 1 - float((error**2).sum()) / spread if spread > 0 else np.nan,
            }
        )
    return rows


def by_tag(chances: np.ndarray, target: np.ndarray, labels: Sequence[str], threshold: float) -> list[Values]:
    """Precision, recall, F1 and support of each tag; targets below 0 or NaN are unknown."""
    rows = []
    for i, label in enumerate(labels):
        known = target[:, i] >= 0
        true, said = target[known, i] > 0.5, chances[known, i] >= threshold
        matrix = np.array([[(~true & ~said).sum(), (~true & said).sum()], [(true & ~said).sum(), (true & said).sum()]])
        rows.append(by_class(matrix, ["", label])[1])
    return rows


def thinned(values: np.ndarray) -> list[float]:
    """At most `POINTS` of a curve's values, the ends among them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int))
    return values[places].astype(float).tolist()


def _ratio(part: float, whole: float, nothing: float) -> float:
    return float(part / whole) if whole else float(nothing)

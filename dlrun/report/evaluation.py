"""An evaluation as tables and figures, from its folder alone: evaluation.json and predictions.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.plain import Values, finite, four_digits
from dlrun.report import style
from dlrun.report.confusion import store_confusion
from dlrun.report.confusion_table import draw_stored
from dlrun.report.tables import Table, format_number
from dlrun.store.reading import read_columns, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 40  # that the table on the screen lists; of more, those with the lowest F1
MOST_POINTS = 5000  # of a scatter
SIZE = 3.6  # inches, of a panel


def evaluation_tables(found: Mapping[str, object]) -> list[Table]:
    """The metrics beside those of the baseline, and what was reached by class, tag or target."""
    baseline = _mapping(found.get("baseline"))
    rows = [
        [name, format_number(value), _shown(baseline.get(name))] for name, value in evaluation_numbers(found).items()
    ]
    used = f"{found.get('part')}: {found.get('rows')} rows" + (f" of {found['source']}" if found.get("source") else "")
    notes = [_threshold(found)] if found.get("threshold") else []
    headers = ["metric", "value", str(baseline.get("of") or "baseline")]
    tables = [Table(headers, rows, f"{used}, checkpoint {found.get('checkpoint')}", notes)]
    for key, name in (("classes", "class"), ("targets", "target")):
        lines = found.get(key)
        if isinstance(lines, list) and lines:
            told = [line for line in lines if not math.isnan(_nan(line.get("f1", 0)))]  # it occurs or was predicted
            tables.append(_by_name(told, name))
    return tables


def evaluation_numbers(found: Mapping[str, object]) -> dict[str, float]:
    """What is told in one number."""
    numbers = {str(k): float(v) for k, v in _mapping(found.get("metrics")).items()}
    targets = found.get("targets")
    if isinstance(targets, list) and len(targets) == 1:  # in the target's own units, where the metrics need not be
        numbers = {"loss": numbers["loss"], **{k: float(v) for k, v in targets[0].items() if k != "target"}}
    more = _mapping(found.get("calibration")) | _mapping(found.get("two_classes"))
    for name in ("expected_calibration_error", "roc_auc", "average_precision"):
        numbers |= {name: float(more[name])} if name in more else {}
    at = _mapping(found.get("at_threshold"))
    return numbers | ({f"accuracy from {at['threshold']:.3g}": float(at["accuracy"])} if at else {})


def _threshold(found: Mapping[str, object]) -> str:
    best = _mapping(found["threshold"])
    return (
        f"  best threshold for {best['of']} on validation: {best['value']:.4g} (F1 {best['f1']:.4f} there); "
        "--threshold best uses it"
    )


def _by_name(lines: list[Values], name: str) -> Table:
    notes = []
    if len(lines) > MOST_CLASSES:
        notes = [f"  the {MOST_CLASSES} of {len(lines)} with the lowest F1; all are in evaluation.json"]
        lines = sorted(lines, key=lambda line: (math.isnan(_nan(line.get("f1"))), _nan(line.get("f1"))))[:MOST_CLASSES]
    headers = list(lines[0])
    rows = [[str(value) if isinstance(value, str | int) else format_number(_nan(value)) for value in line.values()]
            for line in lines]  # fmt: skip
    return Table([name, *headers[1:]], rows, "", notes)


def _nan(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _shown(value: object) -> str:
    return format_number(float(value)) if isinstance(value, int | float) else ""


def _mapping(value: object) -> Values:
    return value if isinstance(value, dict) else {}


def draw_evaluation(folder: Path) -> None:
    """Write the figures that the task has: confusion.png (and .csv), scores.png, calibration.png, predicted.png."""
    found = read_json(folder / "evaluation.json")
    if found.get("confusion"):
        store_confusion(folder, found["confusion"], found.get("labels") or [])
        draw_stored(folder)
    bins = _mapping(found.get("calibration")).get("bins")
    if bins:
        draw_calibration(folder / "calibration.png", bins, found["calibration"]["expected_calibration_error"])
    if found.get("two_classes"):
        draw_scores(folder / "scores.png", found["two_classes"], str(found["labels"][1]))
    if len(found.get("targets") or []) == 1:
        draw_predicted(folder / "predicted.png", folder / "predictions.csv", found["targets"][0])


def draw_calibration(path: Path, bins: list[Values], error: float) -> Path:
    """The share that is right by the probability that the model gives, and how many rows have such a probability."""
    figure = style.new_figure(SIZE + 1.2, SIZE + 1.2)
    top, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    confidence, accuracy = [row["confidence"] for row in bins], [row["accuracy"] for row in bins]
    style.dress(top, f"Reliability: expected calibration error {error:.3f}", "", "share that is right")
    top.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, linestyle="--", label="calibrated")
    top.plot(confidence, accuracy, "o-", color=style.COLORS[0], label="model")
    top.set_ylim(-0.02, 1.02)
    top.set_xlim(0, 1)
    top.legend(loc="upper left", **style.LEGEND)
    style.dress(below, "", "probability of the predicted class", "rows")
    below.bar(confidence, [row["count"] for row in bins], width=0.05, color=style.COLORS[0])
    return style.save(figure, path)


def draw_scores(path: Path, curves: Values, positive: str) -> Path:
    """The ROC curve and the precision-recall curve of two classes."""
    figure = style.new_figure(2 * SIZE + 0.4, SIZE + 0.4)
    left, right = figure.subplots(1, 2)
    title = f"ROC of {positive}: area {curves['roc_auc']:.3f}"
    style.dress(left, title, "false positive rate", "true positive rate (recall)")
    left.plot([0, 1], [0, 1], color=style.FAINT, linewidth=1, linestyle="--")
    _curve(left, curves["roc"]["false_positive_rate"], curves["roc"]["true_positive_rate"])
    style.dress(right, f"Average precision {curves['average_precision']:.3f}", "recall", "precision")
    _curve(right, curves["precision_recall"]["recall"], curves["precision_recall"]["precision"])
    return style.save(figure, path)


def _curve(axes: Axes, x: list[float], y: list[float]) -> None:
    axes.plot(x, y, color=style.COLORS[0], linewidth=2, drawstyle="steps-post")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)


def draw_predicted(path: Path, table: Path, numbers: Values) -> Path | None:
    """Predicted against true values, in the target's own units."""
    columns = read_columns(table)
    true, said = columns.get("true", []), columns.get("prediction", [])
    kept = list(zip(true, said, strict=True))[:: max(1, len(true) // MOST_POINTS)]
    values = finite([value for pair in kept for value in pair])
    if not values:
        return None
    figure = style.new_figure(SIZE + 1.2, SIZE + 1.2)
    axes = figure.subplots()
    words = f"RMSE {four_digits(numbers['rmse'])}, MAE {four_digits(numbers['mae'])}, R2 {_nan(numbers['r2']):.3f}"
    style.dress(axes, f"{numbers['target']}: {words}", "true", "predicted")
    low, high = min(values), max(values)
    axes.plot([low, high], [low, high], color=style.FAINT, linewidth=1, linestyle="--")
    alpha = min(1.0, max(0.15, 10 / math.sqrt(len(kept))))
    axes.plot(*zip(*kept, strict=True), "o", markersize=4, alpha=alpha, color=style.COLORS[0])
    axes.set_aspect("equal")
    return style.save(figure, path)

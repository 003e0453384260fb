"""predictions.csv of an evaluation: a line a row, in the order of the part."""

from __future__ import annotations

import csv
import io

import numpy as np

from dlrun.inference.answers import class_names
from dlrun.inference.evaluate import Measured
from dlrun.inference.predict import value_names


def predictions(measured: Measured, threshold: float | None) -> str:
    """predictions.csv: a line a row, in the order of the part."""
    spec, names = measured.trained.spec, class_names(measured.trained.spec)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    answers, targets = measured.answers, measured.targets
    if len(measured.errors):
        writer.writerows([["row", "error"], *([i, f"{error:.6g}"] for i, error in enumerate(measured.errors))])
    elif spec.task == "classification" and len(answers):
        chosen = answers.argmax(1)
        if threshold is not None and len(names) == 2:
            chosen = (answers[:, 1] >= threshold).astype(int)
        writer.writerow(["row", "true", "prediction", *(f"p_{name}" for name in names)])
        for i, (true, said, row) in enumerate(zip(targets, chosen, answers, strict=True)):
            known = names[int(true)] if 0 <= true < len(names) else ""
            writer.writerow([i, known, names[said], *(f"{value:.6g}" for value in row)])
    elif spec.task == "multilabel" and len(answers):
        writer.writerow(["row", *(f"true_{name}" for name in names), *(f"p_{name}" for name in names)])
        for i, (row, chances) in enumerate(zip(targets, answers, strict=True)):
            writer.writerow([i, *(f"{value:g}" for value in row), *(f"{value:.6g}" for value in chances)])
    elif spec.task == "regression" and len(answers):
        fields = value_names(spec)
        writer.writerow(["row", *(f"true_{f}" if len(fields) > 1 else "true" for f in fields), *fields])
        for i, (row, values) in enumerate(zip(targets, answers, strict=True)):
            writer.writerow([i, *(f"{value:.6g}" for value in row), *(f"{value:.6g}" for value in values)])
    elif len(answers):
        right = (answers.argmax(1) == targets) | (targets < 0)
        shares = np.asarray(right).reshape(len(right), -1).mean(1)
        writer.writerows([["row", "accuracy"], *([i, f"{share:.6g}"] for i, share in enumerate(shares))])
    else:
        writer.writerow(["row"])
    return text.getvalue()

"""predictions.csv of an evaluation: a line a row, in the order of the part."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np

from dlrun.inference.answers import class_names
from dlrun.inference.evaluate import Answered
from dlrun.inference.predict import value_names
from dlrun.inference.told import join_labels
from dlrun.spec import DataSpec


def predictions(
    spec: DataSpec, answered: Answered, threshold: float | None = None, rows: Sequence[int] | None = None
) -> str:
    """predictions.csv: a line a row, in the order of the part. `rows` are their numbers; by default 0, 1, ..."""
    header, lines = answer_columns(spec, answered, threshold)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *header])
    writer.writerows([row, *line] for row, line in zip(count() if rows is None else rows, lines, strict=False))
    return text.getvalue()


def answer_columns(
    spec: DataSpec, answered: Answered, threshold: float | None
) -> tuple[list[str], Iterable[Sequence[object]]]:
    """The names of the columns after `row`, and their cells for each row."""
    names, answers, targets = class_names(spec), answered.answers, answered.targets
    if len(answered.errors):
        return ["error"], ([f"{error:.6g}"] for error in answered.errors)
    if answered.words:
        texts = ([join_labels([names[i] for i in numbers]) for numbers in pair] for pair in answered.words)
        return ["true", "prediction"], texts
    if not len(answers):
        return [], []
    if spec.task == "classification":
        chosen = answers.argmax(1)
        if threshold is not None and len(names) == 2:
            chosen = (answers[:, 1] >= threshold).astype(int)
        known = (names[int(true)] if 0 <= true < len(names) else "" for true in targets)
        header = ["true", "prediction", *(f"p_{name}" for name in names)]
        lines = zip(known, chosen, answers, strict=True)
        return header, ([true, names[said], *number_cells(row)] for true, said, row in lines)
    if spec.task in ("multilabel", "regression"):
        if spec.task == "multilabel":
            header = [*(f"true_{name}" for name in names), *(f"p_{name}" for name in names)]
        else:
            fields = value_names(spec)
            header = [*(f"true_{f}" if len(fields) > 1 else "true" for f in fields), *fields]
        return header, ([*number_cells(true), *number_cells(said)] for true, said in zip(targets, answers, strict=True))
    right = (answers.argmax(1) == targets) | (targets < 0)
    return ["accuracy"], (number_cells([share]) for share in np.asarray(right).reshape(len(right), -1).mean(1))


def number_cells(values: Iterable[float]) -> list[object]:
    """Numbers as they are written."""
    return [f"{value:.6g}" for value in values]

"""`dlrun evaluate RUN`: measures, figures and a prediction for every row, in RUN/evaluations/NAME."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import ConfigError, DataError, Problem, RunError, cannot_write
from dlrun.inference.answers import class_names
from dlrun.inference.each_row import predictions
from dlrun.inference.evaluate import baseline_of, measure, report_of
from dlrun.inference.labelled import Rows, find_rows
from dlrun.inference.trained import Trained, load_trained
from dlrun.inference.which import best_run
from dlrun.plain import Values, json_value, say
from dlrun.report.evaluation import draw_evaluation, evaluation_tables
from dlrun.report.tables import print_table
from dlrun.store.evaluations import test_evaluations, threshold_of
from dlrun.store.files import now, write_atomic, write_json
from dlrun.store.rundir import RunDir


@dataclass(frozen=True)
class Asked:
    """What the command line asks of `evaluate` besides the run."""

    split: str | None = None
    checkpoint: str = "best"
    threshold: str | None = None  # a probability, or `best`
    name: str | None = None
    json: bool = False


def evaluate_command(word: str, overrides: Sequence[str], asked: Asked) -> int:
    """Evaluate, write, print. Raises as `evaluate_run` does."""
    run, note = best_run(word)
    if note:
        say(note, file=sys.stderr)
    folder, found = evaluate_run(run, overrides, asked)
    if asked.json:
        say(json.dumps(json_value(found), ensure_ascii=False))
        return 0
    for table in evaluation_tables(found):
        print_table(table)
    for line in found["remarks"]:
        say(f"  remark: {line}")
    say(f"  {folder}/: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


def evaluate_run(run: RunDir, overrides: Sequence[str], asked: Asked) -> tuple[Path, Values]:
    """The folder of a new evaluation, and what stands in its evaluation.json.

    Raises `RunError` for a run or checkpoint that cannot be used, `ConfigError` and `DataError` for data that are not
    there or not of the kind that the model was trained on.
    """
    device, others = split_off_device(overrides)
    trained = load_trained(run.path, asked.checkpoint, device)
    threshold = threshold_for(run, asked.threshold, trained)
    rows = find_rows(trained, asked.split, others)
    measured = measure(trained, rows.parts[rows.part], rows.part, rows.loading)
    validation = rows.parts.get("val")
    binary = trained.spec.task == "classification" and len(class_names(trained.spec)) == 2
    on_validation = measure(trained, validation, "val", rows.loading) if validation is not None and binary else None
    own_test = rows.part == "test" and not rows.source
    found: Values = {
        "made": now(),
        "part": rows.part,
        "rows": measured.rows,
        "source": rows.source or None,
        "checkpoint": trained.checkpoint.name,
        "task": trained.spec.task,
        "labels": list(class_names(trained.spec)) if measured.confusion is not None else [],
        **report_of(measured, threshold, on_validation),
        "baseline": baseline_of(measured, rows.parts.get("train")),
        "test_evaluations": test_evaluations(run) + own_test,
        "remarks": [],
    }
    found["remarks"] = remarks(found, rows, own_test)
    try:
        folder = new_folder(run, asked.name or name_of(rows, trained))
        write_atomic(folder / "predictions.csv", predictions(trained.spec, measured, threshold).encode())
        if measured.confusion is not None:
            found["confusion"] = measured.confusion.tolist()
        write_json(folder / "evaluation.json", found)
        draw_evaluation(folder)
    except OSError as error:
        raise RunError(cannot_write(run.path, error)) from error
    return folder, found


def split_off_device(overrides: Sequence[str]) -> tuple[str, list[str]]:
    """The device that `device=NAME` asks for, and the other overrides."""
    named = [word.partition("=")[2] for word in overrides if word.partition("=")[0] in ("device", "device.name")]
    others = [word for word in overrides if word.partition("=")[0] not in ("device", "device.name")]
    return (named or ["cpu"])[-1], others


def threshold_for(run: RunDir, text: str | None, trained: Trained) -> float | None:
    """The probability that was asked for. Raises `ConfigError` and `RunError` where there is none."""
    if text is None:
        return None
    if trained.spec.task != "multilabel" and len(class_names(trained.spec)) != 2:
        what = f"goes with two classes or tags; {trained.spec.name} has neither."
        raise ConfigError(Problem("--threshold", what))
    return threshold_of(run, text)


def name_of(rows: Rows, trained: Trained) -> str:
    """What an evaluation is called: the part, or where other data are from; and the checkpoint but for the best."""
    words = [Path(rows.source.rpartition("=")[2]).name.split(".")[0] or "other" if rows.source else rows.part]
    words += [] if trained.checkpoint.stem == "best" else [trained.checkpoint.stem]
    return "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word) for word in words)


def new_folder(run: RunDir, name: str) -> Path:
    """A folder in RUN/evaluations that is not there yet: NAME, NAME-2, ..."""
    if not name or name.startswith(".") or "/" in name or len(name) > 100:
        raise DataError(f"--name {name!r} is no name for a folder.")
    home = run.file("evaluations")
    home.mkdir(exist_ok=True)
    number = 1
    while True:
        folder = home / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def remarks(found: Values, rows: Rows, own_test: bool) -> list[str]:
    """What a careful reader would want to be told."""
    lines = []
    if own_test and found["test_evaluations"] > 1:
        times = f"the test part has been evaluated {found['test_evaluations']} times"
        lines.append(f"{times}: a choice that was made by it makes it a validation part")
    if rows.part == "train":
        lines.append("measured on the rows that were trained on: nothing here concerns new data")
    if rows.part == "val":
        lines.append("measured on the rows that selected the best epoch: new data will do a little worse")
    accuracy, usual = found["metrics"].get("accuracy"), found["baseline"].get("accuracy")
    if accuracy is not None and usual is not None and accuracy <= usual:
        lines.append(f"no better than the baseline: accuracy {accuracy:.4f} against {usual:.4f}")
    return lines

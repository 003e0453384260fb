"""`dlrun evaluate RUN`: measures, figures and a prediction for every row, in RUN/evaluations/NAME."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import ConfigError, Problem, RunError, cannot_write
from dlrun.inference.answers import class_names
from dlrun.inference.each_row import predictions
from dlrun.inference.evaluate import Measured, baseline_of, measure, report_of
from dlrun.inference.labelled import LabelledRows, find_rows
from dlrun.inference.trained import Trained, load_trained, split_off_device, threshold_for
from dlrun.inference.which import best_run
from dlrun.plain import Values, json_line, say
from dlrun.report.evaluation import draw_evaluation, evaluation_tables
from dlrun.report.style import drawn_as
from dlrun.report.tables import print_table
from dlrun.store.evaluations import test_evaluations
from dlrun.store.files import now, write_atomic, write_json
from dlrun.store.rundir import RunDir

LONGEST = 100  # characters of a folder's name


@dataclass(frozen=True)
class EvaluateRequest:
    """What the command line asks of `evaluate` besides the run."""

    split: str | None = None
    checkpoint: str = "best"
    threshold: str | None = None  # a probability, or `best`
    name: str | None = None
    json: bool = False


def evaluate_command(word: str, overrides: Sequence[str], asked: EvaluateRequest) -> int:
    """Evaluate, write, print. Raises as `evaluate_run` does."""
    run, note = best_run(word)
    if note:
        say(note, file=sys.stderr)
    folder, found = evaluate_run(run, overrides, asked)
    if asked.json:
        say(json_line(found))
        return 0
    for table in evaluation_tables(found):
        print_table(table)
    for line in found["remarks"]:
        say(f"  remark: {line}")
    say(f"  {folder}/: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


def evaluate_run(run: RunDir, overrides: Sequence[str], asked: EvaluateRequest) -> tuple[Path, Values]:
    """The folder of a new evaluation, and what stands in its evaluation.json.

    Raises `RunError` for a run or checkpoint that cannot be used, `ConfigError` and `DataError` for data that are not
    there or not of the kind that the model was trained on.
    """
    device, others = split_off_device(overrides)
    trained = load_trained(run.path, asked.checkpoint, device)
    threshold = threshold_for(trained, asked.threshold)
    check_name(asked.name)
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
        "baseline": baseline_of(measured, rows),
        "test_evaluations": test_evaluations(run) + own_test,
        "remarks": [],
    }
    found["remarks"] = evaluation_remarks(found, rows, own_test)
    if measured.confusion is not None:
        found["confusion"] = measured.confusion.tolist()
    try:
        folder = new_folder(run, asked.name or evaluation_name(rows, trained))
        fill(folder, measured, threshold, found)
    except OSError as error:
        raise RunError(cannot_write(run.path, error)) from error
    return folder, found


def fill(folder: Path, measured: Measured, threshold: float | None, found: Values) -> None:
    """Write the files of an evaluation. The folder is removed where that fails or is interrupted."""
    try:
        write_atomic(folder / "predictions.csv", predictions(measured.trained.spec, measured, threshold).encode())
        write_json(folder / "evaluation.json", found)
        with drawn_as(str(measured.trained.config.get("report.format"))):
            draw_evaluation(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def evaluation_name(rows: LabelledRows, trained: Trained) -> str:
    """What an evaluation is called: the part, or where other data are from; and the checkpoint but for the best."""
    source = (
        rows.source.replace("dataset.", "") if rows.remark else Path(rows.source.rpartition("=")[2]).name.split(".")[0]
    )
    words = [source or "other" if rows.source else rows.part]
    words += [] if trained.checkpoint.stem == "best" else [trained.checkpoint.stem]
    return "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word) for word in words)[:LONGEST]


def check_name(name: str | None) -> None:
    """Raise `ConfigError` for what cannot be the name of a folder."""
    if name and (name.startswith(".") or "/" in name or "\0" in name or len(os.fsencode(name)) > LONGEST):
        raise ConfigError(Problem("--name", f"{name!r} is no name for a folder."))


def new_folder(run: RunDir, name: str) -> Path:
    """A folder in RUN/evaluations that is not there yet: NAME, NAME-2, ..."""
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


def evaluation_remarks(found: Values, rows: LabelledRows, own_test: bool) -> list[str]:
    """What a careful reader would want to be told."""
    lines = [rows.remark] if rows.remark else []
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

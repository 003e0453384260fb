"""What a page and a model card tell of a run, in words: what was trained on what, the result, how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from dlrun.errors import count_of
from dlrun.plain import Values, number, numbers
from dlrun.report.evaluation import evaluation_numbers
from dlrun.report.page import Cell, join_texts, link, number_cell, text_cell
from dlrun.report.tables import baseline_name, format_number, format_seconds, format_value
from dlrun.store.evaluations import evaluations
from dlrun.store.reader import StoredRun, component
from dlrun.store.rundir import RunDir

RESULT_ORDER = ("accuracy", "r2", "macro_f1", "mae", "rmse", "loss")  # the first that was measured is told
EXAMPLES = {  # inputs for `dlrun predict`, as the shell and Python take them
    "text": ("'a text'", '["a text", "another"]'),
    "image": ("image.png", '["image.png"]'),
    "tabular": ("rows.csv", '["rows.csv"]'),
}


def sentence(run: StoredRun) -> str:
    """What was trained on what, with which result, against which baseline."""
    of = run.part("counts")
    weights = f" with {count_of(of['parameters'], 'parameter')}" if "parameters" in of else ""
    epochs = of.get("epochs", float(len(run.metrics.get("epoch", []))))
    optimizer, rate = component(run.config, "optimizer"), run.flat.get("optimizer.lr")
    how = f" with {optimizer}" if optimizer else ""
    how += f", learning rate {format_value(rate)}" if optimizer and rate is not None else ""
    words = f"{component(run.config, 'model') or 'A model'}{weights}"
    what = f" trained on {_data(run, run.summary.get('data'), of)}"
    if run.state in ("finished", "pruned", "unknown"):
        return f"{words},{what} for {count_of(epochs, 'epoch')}{how}. {result(run)}".strip()
    planned = number(run.flat.get("trainer.epochs"))
    length = f" for {count_of(planned, 'epoch')}" if planned == planned else ""
    return f"{words}, to be{what}{length}{how}: {run.state} after {count_of(epochs, 'epoch')}. {result(run)}".strip()


def _data(run: StoredRun, data: object, counts: Mapping[str, float]) -> str:
    facts = data if isinstance(data, Mapping) else {}
    kind = join_texts((str(facts.get(key) or "") for key in ("input_kind", "task")), " ")
    classes = f"{number(facts['classes']):.0f} classes" if facts.get("classes") else ""
    rows = count_of(counts["train"], "training row") if "train" in counts else ""
    inside = join_texts([kind, classes, rows], ", ")
    name = component(run.config, "dataset") or "data"
    return f"{name} ({inside})" if inside else name


def result(run: StoredRun) -> str:
    """`Test accuracy 0.9722 (epoch 7), against 0.1056 of the baseline: majority class (3).`"""
    tests, best = run.part("test"), run.best() or run.last()
    part = next((p for p in ("val", "train") if any(key.startswith(f"{p}_") for key in best)), "")
    measured = tests or {key.removeprefix(f"{part}_"): v for key, v in best.items() if part and key.startswith(part)}
    baseline = run.summary.get("baseline")
    known = numbers(baseline)
    if run.summary.get("loss") == "mse" and "mse" in known:
        known["loss"] = known["mse"]
    order = [*RESULT_ORDER, *measured]
    name = next((n for n in order if n in measured and n in known), next((n for n in order if n in measured), ""))
    if not name:
        return ""
    where = {"val": "Validation", "train": "Training"}.get(part, "") if not tests else "Test"
    epoch = f" (epoch {best['epoch']:.0f})" if "epoch" in best else ""
    against = (
        f", against {format_number(known[name])} of the baseline: {baseline_name(baseline)}" if name in known else ""
    )
    return f"{where} {name.replace('_', ' ')} {format_number(measured[name])}{epoch}{against}."


def commands(run: StoredRun) -> list[tuple[str, str]]:
    """What can be done with a run: (what for, command)."""
    place, used = shlex.quote(str(run.path)), RunDir(run.path)
    flags = "".join(f" {shlex.quote(word)}" for word in run.plugin_flags)
    found = [("Repeat it in a directory of its own", run.commands)] if run.command else []
    if used.file("crash.pt").is_file():
        found += [("Run the step that failed again, and name the layer", f"dlrun replay {place}{flags}")]
    if used.last.is_file():
        example = example_inputs(run)[0]
        found += [
            ("Go on from the last checkpoint", f"dlrun resume {place}{flags}"),
            ("Predict", f"dlrun predict {place} {example}{flags}"),
            ("Evaluate it by class, on its own data", f"dlrun evaluate {place}{flags}"),
            ("Write a model card", f"dlrun report {place} --card"),
        ]
    return found


def example_inputs(run: StoredRun) -> tuple[str, str]:
    """Inputs of the kind that the model takes, for the shell and for Python."""
    data = run.summary.get("data")
    kind = str(data.get("input_kind")) if isinstance(data, Mapping) else ""
    return EXAMPLES.get(kind, ("INPUT", '["INPUT"]'))


def surroundings(run: StoredRun) -> list[tuple[str, str]]:
    """Versions, device, commit and machine of a run, in words."""
    found = run.environment
    versions, host, git = (_mapping(found.get(key)) for key in ("versions", "host", "git"))
    commit = join_texts([str(git.get("commit") or "")[:12], "with changes" if git.get("dirty") else ""], " ")
    machine = [str(host.get("system") or ""), str(host.get("machine") or "")]
    machine += [f"{host['cpus']} CPUs"] if host.get("cpus") else []
    machine += [f"{host['memory_gib']} GiB of memory"] if host.get("memory_gib") else []
    engine = [str(line) for line in found.get("engine") or []]
    rows = [
        ("Python", str(found.get("python") or "")),
        ("Packages", join_texts((f"{name} {version}" for name, version in versions.items()), ", ")),
        ("Device", str(found.get("device") or "")),
        ("Step", join_texts(engine, ", ")),
        ("Commit", commit),
        ("Machine", join_texts(machine, ", ")),
        ("Started", str(run.status.get("started") or "")),
        ("Took", format_seconds(run.seconds)),
    ]
    return [(name, text) for name, text in rows if text]


def evaluation_rows(run: StoredRun, page: Path) -> tuple[list[str], list[list[Cell]]]:
    """The evaluations of a run, newest first, a row each with a link to its folder."""
    found = evaluations(RunDir(run.path))
    measured = [evaluation_numbers(values) for _, values in found]
    names = list(dict.fromkeys(name for row in measured for name in row))[:6]
    rows = [
        [
            Cell(folder.name, href=link(folder, page)),
            text_cell(str(values.get("part"))),
            number_cell(str(values.get("rows"))),
            text_cell(str(values.get("source") or "own data")),
            text_cell(str(values.get("checkpoint"))),
            *(number_cell(format_number(row.get(name)), row.get(name)) for name in names),
        ]
        for (folder, values), row in zip(found, measured, strict=True)
    ]
    return ["evaluation", "part", "rows", "data", "checkpoint", *names], rows


def _mapping(value: object) -> Values:
    return value if isinstance(value, dict) else {}

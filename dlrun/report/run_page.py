"""The page of one run."""

from __future__ import annotations

import json

from dlrun.report import facts
from dlrun.report.confusion_table import read_confusion
from dlrun.report.evaluation import evaluation_tables
from dlrun.report.figures import undrawn
from dlrun.report.page import join_texts, picture, render
from dlrun.report.rows import read_rows
from dlrun.report.svg import panels
from dlrun.report.tables import FIGURES, Table, closing_table, format_seconds
from dlrun.store.evaluations import evaluations
from dlrun.store.failure import Failure
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_lines
from dlrun.store.rundir import RunDir

NO_REASON = Failure("crash", "the process ended without a message")
SHOWN_EVALUATIONS = 5  # the newest, with their figures
IN_THE_PAGE = ("curves.png", "confusion.png")  # that are drawn as SVG and as a table


def run_page(run: StoredRun) -> str:
    """The page of one run."""
    failure = run.failure or (NO_REASON if run.state in ("failed", "dead") else None)
    confusion = read_confusion(run.file("confusion.csv"))
    figures = [name for name in FIGURES if name not in IN_THE_PAGE or (name == "confusion.png" and not confusion)]
    return render(
        "run.html.j2",
        title=run.title,
        facts=join_texts([run.state, str(run.status.get("started") or ""), format_seconds(run.seconds), str(run.path)]),
        sentence=facts.sentence(run),
        failure=failure,
        log=failure_log(run, failure) if failure else "",
        result=result_table(run),
        remarks=[str(line) for line in run.summary.get("remarks") or []],
        panels=panels(run),
        confusion=confusion,
        figures=shown(run, figures),
        undrawn=undrawn(run),
        rows=read_rows(run.file("mistakes.json")),
        evaluations=facts.evaluation_rows(run, run.path),
        details=evaluation_details(run),
        commands=facts.commands(run),
        surroundings=facts.surroundings(run),
        environment=json.dumps(run.environment, indent=2, ensure_ascii=False) if run.environment else "",
        config="\n".join(read_lines(run.file("config.yaml")) or []),
    )


def failure_log(run: StoredRun, failure: Failure) -> str:
    """The stack or the end of the log, unless the message contains it."""
    log = run.traceback(own=run.failure in (None, failure)).strip()
    return "" if log in failure.message else log


def result_table(run: StoredRun) -> Table:
    """The closing table: best, last and test beside the baseline."""
    table = closing_table(run.summary)
    return Table(["measured on", *table.headers[1:]], table.rows, notes=table.notes, result=table.result)


def shown(run: StoredRun, names: list[str]) -> list[tuple[str, str]]:
    """The figures of a run that exist: (address, description)."""
    found = [(picture(run.file(name)), FIGURES[name]) for name in names]
    return [(address, words) for address, words in found if address]


def evaluation_details(run: StoredRun) -> list[tuple[str, list[Table], list[str], list[tuple[str, str]]]]:
    """The newest evaluations: name, tables, remarks and figures of each."""
    found = []
    for folder, values in evaluations(RunDir(run.path))[:SHOWN_EVALUATIONS]:
        figures = [(picture(path), f"{path.stem} of {folder.name}") for path in sorted(folder.glob("*.png"))]
        remarks = [str(line) for line in values.get("remarks") or []]
        found.append((folder.name, evaluation_tables(values), remarks, [pair for pair in figures if pair[0]]))
    return found

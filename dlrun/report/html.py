"""report.html of a run or of a sweep: one self-contained file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlrun.errors import RunError, cannot_write
from dlrun.plain import number, say
from dlrun.report import page
from dlrun.report.compare import FIGURE, compare
from dlrun.report.comparison import Comparison
from dlrun.report.curves import draw_curves
from dlrun.report.grouped import grouped_table
from dlrun.report.jobs import ComparedRun
from dlrun.report.stats import numeric
from dlrun.report.tables import FIGURES, closing_table, format_number, format_seconds, format_value, shorten
from dlrun.store.failure import Failure
from dlrun.store.files import write_atomic
from dlrun.store.find import expect_folder
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_lines

REPORT = "report.html"
NO_REASON = Failure("crash", "the process ended without a message")


def write_report(folder: Path | str, comparison: Comparison | None = None) -> Path:
    """Write report.html into a run directory or a folder of runs (a sweep); returns its path.

    Args:
        folder: a run directory or a folder of runs. Missing figures are drawn.
        comparison: what `compare.write_results` returned for this folder, if the caller has it.

    Raises `RunError` if the folder does not exist or holds no run.
    """
    folder = expect_folder(Path(folder))
    if is_run(folder):
        text = run_page(StoredRun(folder))
    else:
        text = sweep_page(folder, comparison or compare([folder], folder))
    write_atomic(folder / REPORT, text.encode())
    return folder / REPORT


def report_command(path: Path | str) -> int:
    """`dlrun report RUN_OR_SWEEP`: write the report and print its path. Returns the exit code.

    Raises `RunError` if the folder cannot be written to.
    """
    try:
        written = write_report(path)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    say(str(written))
    return 0


def run_page(run: StoredRun) -> str:
    """The page of one run."""
    if not (run.path / "curves.png").exists():
        draw_curves(run.path)
    words = [run.state, str(run.status.get("started") or ""), format_seconds(run.seconds), str(run.path)]
    failure = run.failure or (NO_REASON if run.state in ("failed", "dead") else None)
    sections = [
        page.section("What went wrong", page.pre(failure.message) + _log_of(run, failure)) if failure else "",
        page.section("Result", _result(run.summary)),
        page.section("To bear in mind", page.bullets([str(line) for line in run.summary.get("remarks") or []])),
        page.section("Figures", "".join(page.image(run.path / name, alt) for name, alt in FIGURES.items())),
        page.section("Repeat it", page.command(run.commands)),
        page.section("Configuration", _text(run.path / "config.yaml")),
        page.section("Environment", page.details("environment.json", page.pre(_json(run.environment)))),
    ]
    return page.page(run.title, " · ".join(word for word in words if word), sections)


def sweep_page(folder: Path, comparison: Comparison) -> str:
    """The page of a comparison."""
    jobs = comparison.jobs
    states = [job.status for job in jobs]
    facts = [f"{len(jobs)} runs", *(f"{states.count(state)} {state}" for state in dict.fromkeys(states))]
    seconds = sum(job.run.seconds or 0.0 for job in jobs)
    failures = "".join(_failure(job, comparison) for job in jobs if job.status in ("failed", "dead"))
    sections = [
        page.section("Best first" if comparison.comparable else "The settings", _groups(comparison)),
        page.section("To bear in mind", page.bullets(comparison.remarks)),
        page.section("Figures", page.image(folder / FIGURE, _describe(comparison))),
        page.section("Failures", failures),
        page.section("Every run", _jobs(comparison, folder)),
    ]
    title = f"Sweep {folder.resolve().name}" if (folder / "jobs").is_dir() else folder.resolve().name
    return page.page(title, " · ".join([*facts, f"{format_seconds(seconds)} of computing"]), sections)


def _groups(comparison: Comparison) -> str:
    table = grouped_table(comparison)
    rows = []
    for group, cells in zip(comparison.groups, table.rows, strict=True):
        counted = {"n": float(len(group.counted)), "time": group.seconds}
        whole = {comparison.short[key]: format_value(value) for key, value in group.keys.items()}
        rows.append(
            [
                _sorted_cell(text, counted.get(header), whole.get(header, ""))
                for header, text in zip(table.headers, cells, strict=True)
            ]
        )
    caption = f"Runs that differ only in the seed, together; ranked by {comparison.metric} ({comparison.mode})"
    return page.table(table.headers, rows, caption)


def _sorted_cell(text: str, value: float | None, whole: str = "") -> str:
    """A cell that is sorted by `value`, or by the number with which the text begins."""
    found = value if value is not None else number(text.split(" ", 1)[0])
    return page.cell(text, found) if found == found else page.cell(text, whole=whole)


def _jobs(comparison: Comparison, folder: Path) -> str:
    """The table of all jobs: settings, status, metrics, time, and the command that repeats each."""
    keys, short = comparison.keys, comparison.short
    tests = comparison.test_names()
    headers = [*(short[key] for key in keys), "status", comparison.metric, *(f"test_{name}" for name in tests), "time"]
    rows = []
    rows_of = {id(row.source): row for group in comparison.groups for row in group.rows}
    for job in comparison.jobs:
        row = rows_of.get(id(job))
        best = row.value if row else job.run.best().get(comparison.metric)
        values = [best, *(job.run.part("test").get(name) for name in tests)]
        rows.append([
            *(_setting_cell(job.setting(key)) for key in keys),
            page.cell(_status(job), kind=job.status),
            *(page.cell(format_number(value), value) for value in values),
            page.cell(format_seconds(job.run.seconds), job.run.seconds),
            _place_cell(job.run.path, folder),
            page.code_cell(job.command),
        ])  # fmt: skip
    return page.table([*headers, "directory", "repeat with"], rows, "One line a run; press a heading to sort by it")


def _status(job: ComparedRun) -> str:
    """`failed: out of memory`, or the status alone."""
    return f"failed: {job.failure.kind.replace('_', ' ')}" if job.status == "failed" and job.failure else job.status


def _setting_cell(value: Any) -> str:
    return page.cell(format_value(value), value) if numeric(value) else page.cell(format_value(value))


def _failure(job: ComparedRun, comparison: Comparison) -> str:
    """Details of a failed job: message, traceback and command."""
    short = comparison.short
    names = " ".join(f"{short[key]}={shorten(format_value(job.setting(key)))}" for key in comparison.keys)
    failure = job.failure or NO_REASON
    body = page.pre(failure.message) + _log_of(job.run, failure) + page.command(job.command)
    return page.details(f"{names or job.run.name}: {failure.last_line}", body)


def _log_of(run: StoredRun, failure: Failure) -> str:
    """The stack or the end of the log, unless the message contains it."""
    log = run.traceback(own=run.failure in (None, failure)).strip()
    return "" if log in failure.message else f"<p>Where it was, or the last that it wrote:</p>{page.pre(log)}"


def _result(summary: Mapping[str, Any]) -> str:
    table = closing_table(summary)
    rows = [[_sorted_cell(text, None) for text in cells] for cells in table.rows]
    if not rows:
        return ""
    return page.table(["metric", *table.headers[1:]], rows, "Best, last and test", sortable=False) + page.bullets(
        [note for note in table.notes if note]
    )


def _describe(comparison: Comparison) -> str:
    """The alternative text of comparison.png: the ranking."""
    known = [group for group in comparison.groups if group.value is not None]
    words = [f"{comparison.label(g)}: {format_number(g.value.mean)}" for g in known[:10] if g.value is not None]
    return f"Comparison by {comparison.metric}, best first. " + "; ".join(words)


def _text(path: Path) -> str:
    return page.details(path.name, page.pre("\n".join(read_lines(path) or [])))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


def _place_cell(path: Path, folder: Path) -> str:
    """A cell with a run directory, as a link if it exists."""
    words = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    return page.link_cell(words, f"{os.path.relpath(path, folder)}/") if path.is_dir() else page.cell(words)

"""The page of a comparison: of a sweep, or of any folder of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from dlrun.report.compare import FIGURE
from dlrun.report.comparison import Comparison
from dlrun.report.curves import has_curves
from dlrun.report.grouped import grouped_table
from dlrun.report.jobs import ComparedRun
from dlrun.report.page import Cell, join_texts, link, number_cell, picture, render, text_cell
from dlrun.report.pair_table import pair_table
from dlrun.report.profiles import PROFILES_FIGURE, profile_table, profiles
from dlrun.report.run_page import NO_REASON, failure_log, shown
from dlrun.report.stats import is_number
from dlrun.report.svg import panels
from dlrun.report.tables import FIGURES, format_number, format_seconds, format_value, shorten
from dlrun.report.trials import TUNING_FIGURE
from dlrun.store.reader import StoredRun

POINTS = 60  # of a curve of one run among many
MOST_FIGURES = 12  # runs whose figures are in the page, the best and the failed
MOST_ROWS = 1000  # settings and runs that have a line in the page, and failures
MOST_CURVES = 200  # the first runs, whose curves are in the page
MORE_FIGURES = {
    PROFILES_FIGURE: "For each option the share of workloads whose target it reached within tau times the fewest steps",
    TUNING_FIGURE: "The best validation result after k trials, and by learning rate, for each option",
}
Rows = tuple[list[str], list[list[Cell]]]
Images = list[tuple[str, str]]  # (address, description)


def sweep_page(folder: Path, comparison: Comparison, report: str) -> str:
    """The page of a comparison; `report` is the file name of a run's page, to which its row leads if there is one."""
    jobs = comparison.jobs
    states = [job.status for job in jobs]
    seconds = sum(job.run.seconds or 0.0 for job in jobs)
    facts = [f"{len(jobs)} runs", *(f"{states.count(state)} {state}" for state in dict.fromkeys(states))]
    curves = {i: job.run.path / report for i, job in enumerate(jobs) if (job.run.path / report).is_file()}
    unfolded = {i: panels(job.run, POINTS, 2) for i, job in enumerate(jobs[:MOST_CURVES]) if i not in curves}
    drawn = [(i, _name(jobs[i], comparison), found) for i, found in unfolded.items() if found]
    leads = {i: link(path, folder) for i, path in curves.items()} | {i: f"#curves-{i}" for i, _, _ in drawn}
    figures, other = _figures(comparison)
    failed = [job for job in jobs if job.status in ("failed", "dead")]
    repeats = "seed or fold" if any(group.folds for group in comparison.groups) else "the seed"
    return render(
        "sweep.html.j2",
        title=f"Sweep {folder.resolve().name}" if (folder / "jobs").is_dir() else folder.resolve().name,
        facts=join_texts([*facts, f"{format_seconds(seconds)} of computing"]),
        comparable=comparison.comparable,
        groups=None if comparison.workloads else _groups(comparison),
        workloads=[
            (f"{name}, by {part.metric}", _groups(part), part.remarks[:1]) for name, part in comparison.workloads
        ],
        profile=_profile(comparison),
        more=[(picture(folder / name), words) for name, words in MORE_FIGURES.items() if (folder / name).is_file()],
        caption=f"Runs that differ only in {repeats}, together; ranked by {comparison.metric} ({comparison.mode})",
        remarks=comparison.remarks,
        pairs=_pairs(comparison),
        figure=picture(folder / FIGURE),
        described=_describe(comparison),
        figures=figures,
        draw=shlex.join(["dlrun", "report", str(other.path)]) if other else "",
        failures=[_failure(job, comparison) for job in failed[:MOST_ROWS]],
        jobs=_jobs(comparison, folder, leads),
        cut=f" (the best {MOST_ROWS:,} of {len(jobs):,}: all are in results.csv)" if len(jobs) > MOST_ROWS else "",
        curves=drawn,
    )


def _profile(comparison: Comparison) -> Rows | None:
    """The table of performance profiles over several workloads; None where there is none."""
    found = profiles(comparison.workloads)
    if not found:
        return None
    table = profile_table(found)
    return list(table.headers), [[text_cell(text) for text in row] for row in table.rows]


def _groups(comparison: Comparison) -> Rows:
    table = grouped_table(comparison)
    rows = []
    for group, texts in zip(comparison.groups[:MOST_ROWS], table.rows[:MOST_ROWS], strict=True):
        counted = {"n": float(len(group.counted)), "time": group.seconds}
        whole = {comparison.short[key]: format_value(value) for key, value in group.keys.items()}
        rows.append([
            number_cell(text, counted.get(header), whole.get(header, ""))
            for header, text in zip(table.headers, texts, strict=True)
        ])  # fmt: skip
    return list(table.headers), rows


def _pairs(comparison: Comparison) -> tuple[list[str], list[list[Cell]], list[str]] | None:
    """The table of pairs of settings and its notes; None where there is none."""
    table = pair_table(comparison.pairs, comparison.label)
    if table is None:
        return None
    rows = [[text_cell(text) for text in row] for row in table.rows]
    return list(table.headers), rows, list(table.notes)


def _jobs(comparison: Comparison, folder: Path, leads: dict[int, str]) -> Rows:
    """The table of jobs, or of the best of many: settings, status, metrics, time, curves, and the command of each."""
    keys, short = comparison.keys, comparison.short
    tests = comparison.test_names()
    headers = [*(short[key] for key in keys), "status", comparison.metric, *(f"test_{name}" for name in tests), "time"]
    rows = []
    rows_of = {id(row.source): row for group in comparison.groups for row in group.rows}
    best_first = [*rows_of, *(id(job) for job in comparison.jobs if id(job) not in rows_of)]
    shown = {*best_first[:MOST_ROWS]}
    for i, job in enumerate(comparison.jobs):
        if id(job) not in shown:
            continue
        row = rows_of.get(id(job))
        best = row.value if row else job.run.best().get(comparison.metric)
        values = [best, *(job.run.part("test").get(name) for name in tests)]
        rows.append([
            *(_setting(job.setting(key)) for key in keys),
            text_cell(_status(job), kind=job.status),
            *(Cell(format_number(value), value) for value in values),
            Cell(format_seconds(job.run.seconds), job.run.seconds),
            Cell("curves" if i in leads else "", href=leads.get(i, "")),
            place_cell(job.run.path, folder),
            Cell(job.command, code=True),
        ])  # fmt: skip
    return [*headers, "curves", "directory", "repeat with"], rows


def _status(job: ComparedRun) -> str:
    """`failed: out of memory`, or the status alone."""
    return f"failed: {job.failure.kind.replace('_', ' ')}" if job.status == "failed" and job.failure else job.status


def _setting(value: Any) -> Cell:
    return Cell(format_value(value), value) if is_number(value) else text_cell(format_value(value))


def _name(job: ComparedRun, comparison: Comparison) -> str:
    short = comparison.short
    names = " ".join(f"{short[key]}={shorten(format_value(job.setting(key)))}" for key in comparison.keys)
    return names or job.run.name


def _figures(comparison: Comparison) -> tuple[list[tuple[str, Images]], StoredRun | None]:
    """The name and the figures of each run that has some, the best first, then the failed; and a run without any."""
    ranked = [row.source for group in comparison.groups for row in group.rows]
    failed = [job for job in comparison.jobs if job.status in ("failed", "dead")]
    found: dict[Path, tuple[str, Images]] = {}
    other = None
    for job in [*ranked, *failed][:MOST_CURVES]:
        images = shown(job.run, list(FIGURES)) if len(found) < MOST_FIGURES else []
        if images:
            found[job.run.path] = (_name(job, comparison), images)
        elif other is None and has_curves(job.run):
            other = job.run
    return list(found.values()), other


def _failure(job: ComparedRun, comparison: Comparison) -> tuple[str, str, str, str]:
    """A failed job: its line, message, traceback and command."""
    failure = job.failure or NO_REASON
    name = f"{_name(job, comparison)}: {failure.last_line}"
    return name, failure.message, failure_log(job.run, failure), job.command


def _describe(comparison: Comparison) -> str:
    """The alternative text of comparison.png: the ranking."""
    known = [group for group in comparison.groups if group.value is not None]
    words = [f"{comparison.label(g)}: {format_number(g.value.center)}" for g in known[:10] if g.value is not None]
    return f"Comparison by {comparison.metric}, best first. " + "; ".join(words)


def place_cell(path: Path, folder: Path) -> Cell:
    """A cell with a run directory, as a link if it exists."""
    words = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    return Cell(words, href=link(path, folder)) if path.is_dir() else text_cell(words)

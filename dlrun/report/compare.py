"""Comparing runs, sweeps and folders of them, for `dlrun compare` and for the end of a sweep."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.config.schema.words import WORKLOAD
from dlrun.errors import RunError, cannot_write
from dlrun.plain import json_line, say
from dlrun.processes import collecting_rarely
from dlrun.report import panels
from dlrun.report.comparison import Comparison, compare_jobs
from dlrun.report.exports import comparison_json, latex_table, option_columns
from dlrun.report.grouped import grouped_table
from dlrun.report.jobs import RESULTS_FILE, ComparedRun, SweepEntry, collect, compared
from dlrun.report.out_of_fold import OUT_OF_FOLD, out_of_fold
from dlrun.report.pair_table import PAIRS_FILE, pair_table, pairs_csv
from dlrun.report.profiles import PROFILES_FIGURE, PROFILES_FILE, draw_profiles, profile_table, profiles, profiles_csv
from dlrun.report.tables import format_value, print_table
from dlrun.report.trials import TUNING_FIGURE, draw_tuning
from dlrun.report.tuning import TUNING_FILE, read_tuning
from dlrun.store.files import write_atomic
from dlrun.store.find import OUTPUTS, find_place

FIGURE = "comparison.png"
FILES = (RESULTS_FILE, PAIRS_FILE, OUT_OF_FOLD, PROFILES_FILE, TUNING_FILE, FIGURE, PROFILES_FIGURE, TUNING_FIGURE)


def compare(paths: Sequence[Path | str], output: Path | None = None) -> Comparison:
    """Compare the runs in these paths; write results.csv and comparison.png into `output`, if given.

    Raises `RunError` for a path that does not exist or holds no run.
    """
    jobs = collect([Path(path) for path in paths])
    return _write(compare_jobs(jobs), output) if output else compare_jobs(jobs)


def write_results(
    folder: Path,
    jobs: Sequence[SweepEntry],
    target: float | None = None,
    before: Callable[[Comparison], None] = lambda _: None,
) -> Comparison:
    """Write results.csv (a row for each job) and comparison.png of a sweep's jobs.

    Args:
        folder: the folder of the sweep, which exists.
        jobs: all its jobs, also those that have not begun.
        target: a value of the monitored metric whose time to reach is reported; by default the jobs' `sweep.target`.
        before: called with the comparison before its files are written and its figures drawn.
    """
    comparison = compare_jobs([compared(row) for row in jobs], target)
    before(comparison)
    return _write(comparison, folder)


@collecting_rarely()
def compare_command(paths: Sequence[Path | str], output: Path | None = None, form: str = "") -> int:
    """`dlrun compare`: print and write a comparison, as `json` or `latex` where `form` says so. Returns the exit code.

    A path may also be the name of a run or a sweep below outputs, or `last`. Without `output`, the files are written
    into the folder that is compared if it is a sweep, and otherwise (or if it is not writable) into a new folder
    outputs/comparisons/TIME.

    Raises `RunError` when `output` cannot be written to.
    """
    found = [find_place(path) for path in paths]
    comparison = compare(found)
    if output:
        try:
            comparison = _write(comparison, output)
        except OSError as error:
            raise RunError(cannot_write(output, error)) from error
    else:
        comparison = _write_somewhere(comparison, _default_outputs(found))
    if form:
        say(json_line(comparison_json(comparison)) if form == "json" else latex_table(comparison))
    else:
        print_comparison(comparison)
    return 0


def _write_somewhere(comparison: Comparison, folders: Sequence[Path]) -> Comparison:
    """Write into the first folder that is writable, with a note for those that are not."""
    for folder in folders:
        try:
            return _write(comparison, folder)
        except OSError as error:
            say(f"note: {cannot_write(folder, error)}", file=sys.stderr)
    return comparison


def print_comparison(comparison: Comparison) -> None:
    """Print the settings that differ, the table and the remarks."""
    if comparison.keys:
        say("\n".join(["They differ in", *(f"  {line}" for line in comparison.differences()), ""]))
    else:
        say("No setting differs.\n")
    sys.stdout.flush()
    for name, part in comparison.workloads:
        say(f"{name}, by {part.metric}")
        print_table(grouped_table(part))
        for remark in part.remarks[:1]:
            say(f"note: {remark}")
        say()
    if found := profiles(comparison.workloads):
        say("Steps to each target, as multiples of the fastest option's; score: the area below the profile, 1 to 4")
        print_table(profile_table(found))
    if not comparison.workloads:
        print_table(grouped_table(comparison))
    for remark in comparison.remarks:
        say(f"note: {remark}")
    if (pairs := pair_table(comparison.pairs, comparison.label)) is not None:
        say()
        sys.stdout.flush()
        print_table(pairs)
    if comparison.folder is not None:
        files = [name for name in FILES if (comparison.folder / name).exists()]
        say(f"\n{comparison.folder}/: {', '.join(files)}")


def _default_outputs(paths: Sequence[Path]) -> list[Path]:
    own = [path for path in paths[:1] if len(paths) == 1 and (path / "jobs").is_dir()]
    return [*own, OUTPUTS / "comparisons" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"]


def _write(comparison: Comparison, folder: Path) -> Comparison:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RESULTS_FILE, results_csv(comparison, folder).encode())
    if text := out_of_fold(comparison):
        write_atomic(folder / OUT_OF_FOLD, text.encode())
    if text := pairs_csv(comparison.pairs, comparison.label):
        write_atomic(folder / PAIRS_FILE, text.encode())
    else:
        (folder / PAIRS_FILE).unlink(missing_ok=True)  # of an earlier comparison
    draw(comparison, folder)
    return replace(comparison, folder=folder)


def draw(comparison: Comparison, folder: Path) -> None:
    """Draw the figures of a comparison, and remove those of an earlier one. Runs that do not compare have none."""
    found = profiles(comparison.workloads)
    form = comparison.jobs[0].run.figure_format if comparison.jobs else "png"
    if comparison.comparable:
        panels.draw_comparison(comparison, folder / FIGURE)
    else:
        (folder / FIGURE).unlink(missing_ok=True)
    if found:
        write_atomic(folder / PROFILES_FILE, profiles_csv(found).encode())
        draw_profiles(found, folder / PROFILES_FIGURE, form)
    trials = read_tuning(folder)
    if any(trial.stage == "tune" for trial in trials):
        draw_tuning(trials, folder / TUNING_FIGURE, form)


def results_csv(comparison: Comparison, folder: Path) -> str:
    """A row for each job: settings, status, metrics (best, last, test), seconds, path, command and error.

    The columns `option.*` hold what the table says of all runs with its settings.
    """
    lines: list[dict[str, Any]] = []
    for name, part in comparison.workloads or (("", comparison),):
        options: dict[int, dict[str, Any]] = {}
        own: dict[int, dict[str, float | None]] = {}
        for rank, one in enumerate(part.groups, 1):
            values = option_columns(part, rank, one)
            options |= {id(row.source): values for row in one.rows}
            own |= {id(row.source): vars(row.reached) for row in one.rows if row.reached is not None}
        for job in part.jobs:
            line = ({WORKLOAD: name} if name else {}) | _line(job, comparison.keys, folder) | options.get(id(job), {})
            line |= {f"reached.{unit}": time for unit, time in own.get(id(job), {}).items() if time is not None}
            lines.append({**line, WORKLOAD: name} if name else line)
    parts = ("best", "last", "test", "baseline", "reached", "option")
    names = dict.fromkeys(name for line in lines for name in line if name.split(".")[0] in parts)
    metrics = sorted(names, key=lambda name: parts.index(name.split(".")[0]))
    text = io.StringIO()
    columns = [*comparison.keys, "status", *metrics, "seconds", "path", "command", "kind", "error"]
    writer = csv.DictWriter(text, list(dict.fromkeys(columns)), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _line(job: ComparedRun, keys: Sequence[str], folder: Path) -> dict[str, Any]:
    run = job.run
    line: dict[str, Any] = {key: format_value(job.setting(key)) for key in keys}
    parts = {"best": run.best(), "last": run.last(), "test": run.part("test"), "baseline": run.part("baseline")}
    metrics = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    of = run.summary.get("test")
    if isinstance(of, dict) and of.get("of"):
        metrics["test.of"] = of["of"]
    why = {"kind": job.failure.kind, "error": job.failure.last_line} if job.failure else {}
    where = {"seconds": "" if run.seconds is None else round(run.seconds, 3), "path": os.path.relpath(run.path, folder)}
    return line | metrics | {"status": job.status, "command": job.command} | why | where

"""The figures of the best three and of the failed jobs of a sweep, drawn at its end in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dlrun.plain import say
from dlrun.processes import processors
from dlrun.report.comparison import Comparison
from dlrun.report.curves import has_curves
from dlrun.report.jobs import ComparedRun
from dlrun.report.stats import RunGroup
from dlrun.workers.client import Server, ServerDied

LEADERS, MOST_FAILED = 3, 20
MODULE = "dlrun.report.figures"
SECONDS = 120.0  # after which the processes are given up


def draw_chosen(comparison: Comparison) -> None:
    """Draw the figures of the jobs that `chosen` names. What goes wrong is a note: the sweep is done."""
    paths = [str(path.absolute()) for path in chosen(comparison)]
    if not paths:
        return
    count = min(processors(), len(paths))
    try:
        with Server([MODULE, "dlrun.report.style:warm_up"]) as server:
            parts = [{"paths": paths[number::count]} for number in range(count)]
            children = [server.start(f"figures-{n}", f"{MODULE}:draw_runs", part) for n, part in enumerate(parts)]
            whole = not [child for child in children if not server.join(child, SECONDS) or child.code]
    except ServerDied:
        whole = False
    if not whole:
        say("note: some figures could not be drawn; `dlrun report RUN` draws those of a run", file=sys.stderr)


def chosen(comparison: Comparison) -> list[Path]:
    """The directories of the best run of each of the best three settings, and of the failed runs.

    Runs with `run.figures=none` are left out.
    """
    leaders = [best(group, comparison.mode) for group in comparison.groups[:LEADERS] if group.value is not None]
    failed = [job for job in comparison.jobs if job.status in ("failed", "dead")]
    asked = [job for job in [*leaders, *failed[:MOST_FAILED]] if job.run.flat.get("run.figures") != "none"]
    return list(dict.fromkeys(job.run.path for job in asked if has_curves(job.run)))


def best(group: RunGroup, mode: str) -> ComparedRun:
    """The run of a group with the best value; the first of equal ones."""
    rows: Sequence = [row for row in group.counted if row.value is not None]
    return (max if mode == "max" else min)(rows, key=lambda row: row.value).source

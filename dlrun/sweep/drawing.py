"""The figures of the best three and of the failed jobs of a sweep, drawn at its end in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dlrun.plain import say
from dlrun.processes import processors
from dlrun.report import style
from dlrun.report.comparison import Comparison
from dlrun.report.curves import has_curves
from dlrun.report.jobs import ComparedRun
from dlrun.report.stats import RunGroup
from dlrun.workers.client import Child, Server, ServerDied

LEADERS, MOST_FAILED = 3, 20
MODULE = "dlrun.report.figures"
SECONDS = 120.0  # after which the processes are given up


def import_figures() -> None:
    """Load what figures are drawn with, which takes a second, before the end of the sweep."""
    with suppress(Exception):  # it is said when a figure is drawn
        style.warm_up()


class Drawing:
    """Draws the figures of the jobs that `chosen` names, while this process writes the reports of the sweep.

    What goes wrong is a note: the sweep is done.
    """

    def __init__(self) -> None:
        self.server: Server | None = None
        self.children: list[Child] = []

    def begin(self, comparison: Comparison) -> None:
        """Start the processes."""
        paths = [str(path.absolute()) for path in chosen(comparison)]
        if not paths:
            return
        count = min(processors(), len(paths))
        self.server = Server([MODULE, "dlrun.report.style:warm_up"])
        try:
            for number in range(count):
                part = {"paths": paths[number::count]}
                self.children.append(self.server.start(f"figures-{number}", f"{MODULE}:draw_runs", part))
        except ServerDied:
            self.finish()

    def finish(self) -> None:
        """Wait until the figures are drawn."""
        if self.server is None:
            return
        server, self.server = self.server, None
        try:
            with server:
                whole = not [child for child in self.children if not server.join(child, SECONDS) or child.code]
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

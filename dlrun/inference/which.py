"""Which run is meant where a sweep is named: its best job."""

from __future__ import annotations

from pathlib import Path

from dlrun.errors import RunError
from dlrun.plain import four_digits
from dlrun.store.find import find_place, find_runs
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun
from dlrun.store.rundir import RunDir


def best_run(word: str) -> tuple[RunDir, str]:
    """The run of that path or name; of a sweep the finished job that is best by the metric that selects, and a note.

    Raises `RunError` where there is none.
    """
    place = find_place(word)
    if is_run(place):
        run = RunDir(place)
        run.settle()
        return run, ""
    jobs = [(run, value) for run in map(StoredRun, find_runs(place)) if (value := selected_value(run)) is not None]
    if not jobs:
        raise RunError(f"{place} holds no finished run. Give a run directory, or a sweep with finished jobs.")
    first = jobs[0][0]
    measured = [(run, value) for run, value in jobs if run.monitor == first.monitor]
    best, value = (max if first.mode == "max" else min)(measured, key=lambda pair: pair[1])
    name = best.path.relative_to(place) if best.path.is_relative_to(place) else Path(best.path)
    return RunDir(best.path), f"best of {len(measured)} runs by {first.monitor} ({four_digits(value)}): {name}"


def selected_value(run: StoredRun) -> float | None:
    """The value of the metric that selects, in the run's best epoch (the last one where none is selected)."""
    if run.state != "finished":
        return None
    row = run.summary.get("best") or run.summary.get("last") or {}
    value = row.get(run.monitor)
    return value if isinstance(value, float) and value == value else None

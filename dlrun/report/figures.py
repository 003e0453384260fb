"""The figures of a run, each drawn from the values that the run has stored: at its end, or when they are asked for."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.plain import number
from dlrun.processes import collecting_rarely
from dlrun.report.confusion_table import draw_stored
from dlrun.report.curves import draw_curves, has_curves
from dlrun.report.evaluation import draw_evaluation
from dlrun.report.fits import draw_fit
from dlrun.report.mistakes import MISTAKES, RECONSTRUCTIONS, draw_mistakes, draw_reconstructions
from dlrun.report.style import drawn_as
from dlrun.report.tables import FIGURES
from dlrun.store.evaluations import evaluations
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir, with_vectors


@dataclass(frozen=True)
class Figure:
    """The files from which a figure is drawn, the first of which it needs, and the function that draws it."""

    sources: Sequence[str]
    draw: Callable[[Path], Path | None]


DRAWN = {
    "curves.png": Figure(("metrics.csv", "summary.json"), draw_curves),
    "confusion.png": Figure(("confusion.csv",), draw_stored),
    MISTAKES.replace("npz", "png"): Figure((MISTAKES,), draw_mistakes),
    "fit.png": Figure(("fit.csv",), draw_fit),
    RECONSTRUCTIONS.replace("npz", "png"): Figure((RECONSTRUCTIONS,), draw_reconstructions),
}
assert set(DRAWN) == set(FIGURES)


def draw_figures(run_dir: Path | str) -> None:
    """Draw the figures of a run whose values are stored, where they are missing or older than their values.

    What cannot be drawn is left out: `undrawn` names it.
    """
    folder = Path(run_dir)
    with collecting_rarely(), drawn_as(StoredRun(folder).figure_format):
        for name in due(folder):
            try:
                DRAWN[name].draw(folder)
            except OSError:
                raise
            except Exception:  # values of a damaged file that matplotlib cannot draw
                traceback.print_exc(file=sys.stderr)


def draw_evaluations(run_dir: Path | str) -> None:
    """Draw the figures of those evaluations of a run that have none."""
    with drawn_as(StoredRun(run_dir).figure_format):
        for folder, _ in evaluations(RunDir(Path(run_dir))):
            if not any(folder.glob("*.png")):
                draw_evaluation(folder)


def draw_runs(paths: Sequence[str]) -> int:
    """Draw the figures of these runs: the task of a process. Returns the exit code."""
    for path in paths:
        draw_figures(path)
    return 0


def due(run_dir: Path) -> list[str]:
    """The figures that can be drawn from stored values, and are missing or older than these."""
    run = StoredRun(run_dir)
    found = []
    for name, figure in DRAWN.items():
        made = [time_of(run_dir / source) for source in figure.sources]
        if made[0] and time_of(run_dir / name) < max(made) and (name != "curves.png" or has_curves(run)):
            found.append(name)
    return found


def time_of(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def forget_figures(run_dir: Path) -> None:
    """Remove the figures of a run, which show an earlier state of it."""
    for name in with_vectors(DRAWN):
        (run_dir / name).unlink(missing_ok=True)


def undrawn(run: StoredRun) -> list[str]:
    """A line for each figure that the run should have, and that cannot be drawn from its files."""
    lines = []
    expected = expected_sources(run)
    for name, figure in DRAWN.items():
        source = figure.sources[0]
        if run.file(name).is_file() or source == "metrics.csv":
            continue
        if run.file(source).is_file():
            lines.append(f"{name} cannot be drawn: {source} is damaged")
        elif source in expected:
            lines.append(f"{name} cannot be drawn: there is no {source}, which runs of earlier versions did not keep")
    return lines


def expected_sources(run: StoredRun) -> list[str]:
    """The values that a finished run of this kind of data keeps for its figures."""
    data = run.summary.get("data") or {}
    kind = (data.get("task"), data.get("input_kind"))
    found = ["confusion.csv"] if kind[0] == "classification" else []
    if kind == ("classification", "image") and number(read_json(run.file("mistakes.json")).get("wrong")) > 0:
        found.append(MISTAKES)
    return [*found, RECONSTRUCTIONS] if kind[0] == "reconstruction" else found

"""report.html of a run or of a sweep, and the model card of a run: files that need nothing beside them."""

from __future__ import annotations

import sys
from pathlib import Path

from dlrun.errors import RunError, cannot_write
from dlrun.plain import say
from dlrun.report.card import CARD, model_card
from dlrun.report.compare import compare
from dlrun.report.comparison import Comparison
from dlrun.report.figures import draw_evaluations, draw_figures, undrawn
from dlrun.report.run_page import run_page
from dlrun.report.sweep_page import sweep_page
from dlrun.store.files import write_atomic
from dlrun.store.find import expect_folder, find_place
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun

REPORT = "report.html"


def write_report(folder: Path | str, comparison: Comparison | None = None) -> Path:
    """Write report.html into a run directory or a folder of runs (a sweep); returns its path.

    Args:
        folder: a run directory or a folder of runs. Figures of the run that are missing are drawn.
        comparison: what `compare.write_results` returned for this folder, if the caller has it.

    Raises `RunError` if the folder does not exist or holds no run.
    """
    folder = expect_folder(Path(folder))
    if is_run(folder):
        draw_figures(folder)
        draw_evaluations(folder)
        text = run_page(StoredRun(folder))
    else:
        text = sweep_page(folder, comparison or compare([folder], folder), REPORT)
    write_atomic(folder / REPORT, text.encode())
    return folder / REPORT


def write_card(folder: Path | str) -> Path:
    """Write model-card.md into a run directory; returns its path.

    Raises `RunError` if the folder does not exist or is no run.
    """
    folder = expect_folder(Path(folder))
    if not is_run(folder):
        raise RunError(f"{folder} is no run: a model card is of one run. Give one of its run directories.")
    write_atomic(folder / CARD, model_card(StoredRun(folder)).encode())
    return folder / CARD


def report_command(path: Path | str, card: bool = False) -> int:
    """`dlrun report RUN_OR_SWEEP [--card]`: write the page or the model card and print its path.

    The run or sweep may be named, or be `last`.

    Returns the exit code. Raises `RunError` if the folder cannot be written to.
    """
    path = find_place(path)
    try:
        written = write_card(path) if card else write_report(path)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    if not card and is_run(path):
        for line in undrawn(StoredRun(path)):
            say(f"note: {line}", file=sys.stderr)
    say(str(written))
    return 0

"""fit.png: the fitted line, polynomial or logistic curve of a model of one feature, with the data."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.plain import finite
from dlrun.report import style
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_fit(run_dir: Path | str) -> Path | None:
    """Draw RUN/fit.png from RUN/fit.csv; returns None if there is no fit.csv or it is empty.

    fit.csv has the columns `x`, `y` and `prediction`. A row without `y` is a point of the curve alone, which is denser
    and extends further than the data; a row without `prediction` is a point of the data alone. Targets that are all 0
    or 1 with predictions in [0, 1] are drawn as a logistic curve, with a line at 0.5 and the decision boundaries.
    """
    run = StoredRun(run_dir)
    columns = read_columns(run.path / "fit.csv")
    if not {"x", "y", "prediction"} <= set(columns) or not finite(columns["prediction"]):
        return None
    figure = style.new_figure(6.4, 4.2)
    axes = figure.subplots()
    curve = sorted(zip(*style.finite_points(columns["x"], columns["prediction"]), strict=True))
    points = list(zip(*style.finite_points(columns["x"], columns["y"]), strict=True))
    logistic = bool(points) and {y for _, y in points} <= {0.0, 1.0} and all(0 <= y <= 1 for _, y in curve)
    style.dress(axes, "", "x", "probability" if logistic else "y")
    fade = min(1.0, max(0.25, 10 / math.sqrt(len(points) + 1)))
    x, y = zip(*points, strict=True) if points else ((), ())
    axes.plot(x, y, "o", color=style.COLORS[0], alpha=fade, markersize=5 if len(points) < 100 else 3, label="data")
    word = "probability of 1" if logistic else "prediction"
    axes.plot(*zip(*curve, strict=True), color=style.COLORS[1], linewidth=2, label=word, zorder=3)
    if logistic:
        _draw_boundary(axes, curve)
    style.headline(figure, run.title)
    style.legend(axes, loc="lower right", ncols=3)
    return style.save(figure, run.path / "fit.png")


def boundaries(curve: list[tuple[float, float]], level: float = 0.5) -> list[float]:
    """The x at which a curve (x ascending) crosses the level, by linear interpolation."""
    found = []
    for (x0, y0), (x1, y1) in pairwise(curve):
        if (y0 - level) * (y1 - level) < 0:
            found.append(x0 + (level - y0) * (x1 - x0) / (y1 - y0))
        elif y1 == level:
            found.append(x1)
    return found


def _draw_boundary(axes: Axes, curve: list[tuple[float, float]]) -> None:
    axes.axhline(0.5, color=style.FAINT, linewidth=1, linestyle="--", label="0.5")
    axes.set_ylim(-0.06, 1.06)
    for x in boundaries(curve)[:3]:
        axes.axvline(x, color=style.FAINT, linewidth=0.8, linestyle=":")
        axes.annotate(f"x = {x:.3g}", (x, 0.5), (6, -14), textcoords="offset points", fontsize=9, color=style.INK)

"""curves.png: loss, metric and learning rate of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.plain import finite
from dlrun.report import style
from dlrun.report.tables import format_number, format_value
from dlrun.store.reader import StoredRun, component
from dlrun.store.reading import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRIC_ORDER = ("accuracy", "r2", "macro_f1", "mae")  # the first of these that was evaluated is drawn
FEW_EPOCHS = 3  # up to this number of epochs, curves are drawn by step
SMOOTH_FROM_ROWS = 60  # rows of steps.csv from which a running mean is drawn over the raw losses


def draw_curves(run_dir: Path | str) -> Path:
    """Draw RUN/curves.png from metrics.csv, and from steps.csv if there are few epochs; returns its path.

    Lines bridge epochs that were not evaluated. The best epoch is marked. Scales are logarithmic if values span much.
    """
    run = StoredRun(run_dir)
    by_step = len(run.metrics.get("epoch", [])) <= FEW_EPOCHS and len(run.steps.get("step", [])) > 2
    names = ["loss", *metric_names(run.metrics)[:1], "lr"]
    figure = style.new_figure(4.1 * len(names), 3.9)
    panels = figure.subplots(1, len(names), width_ratios=[1.3] * (len(names) - 1) + [1.0])
    style.headline(figure, _headline(run))
    for axes, name in zip(panels, names, strict=True):
        drawn = _draw_lr(axes, run, by_step) if name == "lr" else _draw_metric(axes, run, name, by_step)
        if drawn:
            style.whole_ticks(axes)
        else:
            style.blank(axes, f"no {name} yet")
    style.legend_below(figure)
    return style.save(figure, run.path / "curves.png")


def has_curves(run: StoredRun) -> bool:
    """Whether a run has come so far that there is something to draw."""
    return bool(run.metrics.get("epoch")) or len(run.steps.get("step", [])) > 2


def metric_names(columns: Columns) -> list[str]:
    """The metrics that were evaluated besides the loss, those of `METRIC_ORDER` first."""
    found = [
        name.split("_", 1)[1] for name in columns if name.startswith(tuple(f"{part}_" for part in style.PART_NAMES))
    ]
    others = [name for name in dict.fromkeys(found) if name != "loss"]
    return sorted(others, key=lambda name: METRIC_ORDER.index(name) if name in METRIC_ORDER else len(METRIC_ORDER))


def _headline(run: StoredRun) -> str:
    words = [run.title]
    optimizer = component(run.config, "optimizer")
    if optimizer:
        words.append(f"{optimizer} lr {format_value(run.flat.get('optimizer.lr'))}".removesuffix(" lr null"))
    if run.config.get("seed") is not None:
        words.append(f"seed {run.config['seed']}")
    if run.state not in ("finished", "running", "unknown"):
        words.append(f"{run.state}: {run.failure.last_line}" if run.failure else run.state)
    return " · ".join(words)


def _draw_metric(axes: Axes, run: StoredRun, name: str, by_step: bool) -> bool:
    columns, drawn = run.metrics, []
    across = columns.get("step" if by_step else "epoch", [])
    style.dress(axes, name, "step" if by_step else "epoch", name)
    if by_step and name == "loss":
        drawn += _draw_step_losses(axes, run.steps)
    for part in style.PART_NAMES:
        x, y = style.finite_points(across, columns.get(f"{part}_{name}", []))
        if y:
            look: dict[str, Any] = {"color": style.PART_COLORS[part], "marker": style.marker(len(x)), "markersize": 3.5}
            axes.plot(x, y, label=style.PART_NAMES[part], linewidth=1.6, **look)
            drawn += y
    if name != "accuracy" and style.prefers_log(drawn):
        axes.set_yscale("log")
    _mark_best(axes, run, name, across)
    return bool(drawn)


def _draw_step_losses(axes: Axes, steps: Columns) -> list[float]:
    x, y = style.finite_points(steps.get("step", []), steps.get("loss", []))
    if len(x) < SMOOTH_FROM_ROWS:
        axes.plot(x, y, color=style.PART_COLORS["train"], linewidth=1, alpha=0.6, label="train, by step")
        return y
    axes.plot(x, y, color=style.PART_COLORS["train"], linewidth=0.6, alpha=0.25)
    smooth = style.running_mean(y, max(5, len(y) // 40))
    axes.plot(x, smooth, color=style.PART_COLORS["train"], linewidth=1.2, alpha=0.8, label="train, by step (mean)")
    return smooth


def _mark_best(axes: Axes, run: StoredRun, name: str, across: Sequence[float]) -> None:
    """Draw a vertical line at the best epoch, and put its value into the title."""
    epoch = run.best().get("epoch")
    if epoch is None or epoch not in run.metrics.get("epoch", []):
        return
    row = run.metrics["epoch"].index(epoch)
    if row >= len(across) or not math.isfinite(across[row]):
        return
    axes.axvline(across[row], color=style.FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    shown = [f"{part}_{name}" for part in ("val", "test", "train") if f"{part}_{name}" in run.metrics]
    values = [(column, run.metrics[column][row]) for column in shown if math.isfinite(run.metrics[column][row])]
    if values:
        column, value = values[0]
        part = column.split("_", 1)[0]
        axes.plot([across[row]], [value], "o", color=style.PART_COLORS[part], markersize=7, markeredgecolor="white")
        words = f"{name}: {style.PART_NAMES[part]} {format_number(value)} at the best epoch ({epoch:.0f})"
        style.entitle(axes, words)


def _draw_lr(axes: Axes, run: StoredRun, by_step: bool) -> bool:
    by_step = by_step and bool(finite(run.steps.get("lr", [])))
    columns = run.steps if by_step else run.metrics
    x, y = style.finite_points(columns.get("step" if by_step else "epoch", []), columns.get("lr", []))
    style.dress(axes, "learning rate", "step" if by_step else "epoch", "lr")
    if not y:
        return False
    axes.plot(x, y, color=style.COLORS[3], linewidth=1.6, marker=style.marker(len(x)), markersize=3.5)
    if style.prefers_log(y):
        axes.set_yscale("log")
    elif min(y) == max(y):
        style.entitle(axes, f"learning rate: {y[0]:g} throughout")
        axes.set_ylim(0, 2 * y[0] or 1)
    return True

"""comparison.png: the ranking of the groups, their learning curves, and the influence of the swept numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.report import style
from dlrun.report.remarks import is_lr
from dlrun.report.sensitivity import draw_heat_map, draw_lr, heat_map_keys
from dlrun.report.stats import RunGroup, partition
from dlrun.report.tables import format_number
from dlrun.store.reader import StoredRun
from dlrun.store.reading import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlrun.report.comparison import Comparison

COLORED = 8  # groups; further ones are grey
GREY = "#bbbbbb"
RANKED = 20  # groups in the ranking
CURVES = 200  # groups, the best, whose curves are drawn: more cover each other, and all their tables would be read
LABEL, LABEL_LINE = 72, 36  # letters of a group's label, and of one line of it
SMOOTH_FROM_STEPS = 200  # steps from which a running mean is drawn over raw losses
LOSS_LIMIT = 0.2  # the upper end of the loss axis, if the later losses of all curves lie below it
Panel = Callable[["Axes", "Comparison"], None]
Curve = tuple[list[float], list[float]]  # x and y


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Draw the panels for which there is data, two in a row; the last of an odd number fills its row."""
    panels = choose_panels(comparison)
    rows = math.ceil(len(panels) / 2)
    columns = min(2, len(panels))
    figure = style.new_figure(11.5 if columns > 1 else 6.5, 3.9 * rows + 0.3)
    grid = figure.add_gridspec(rows, columns)
    counted = sum(len(group.counted) for group in comparison.groups)
    runs = f"{counted} runs" if counted == len(comparison.jobs) else f"{counted} of {len(comparison.jobs)} runs"
    best = f"best by {comparison.metric}: {comparison.label(comparison.groups[0])}"
    style.headline(figure, f"{runs}, {best if comparison.comparable else f'by {comparison.metric}'}")
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        alone = place == len(panels) - 1 and column == 0
        panel(figure.add_subplot(grid[row, :] if alone else grid[row, column]), comparison)
    with style.drawn_as(comparison.jobs[0].run.figure_format):
        return style.save(figure, path)


def choose_panels(comparison: Comparison) -> list[Panel]:
    """The panels for which there is data."""
    if all(group.value is None for group in comparison.groups):
        return [lambda axes, _: style.blank(axes, "no finished run yet")]
    panels: list[Panel] = [draw_ranking, draw_learning]
    if optimizer_key(comparison) and len(chosen := _by_optimizer(comparison)) > 1:
        curves = [_step_curve(group) for group in chosen]
        if all(steps for steps, _ in curves):
            panels.append(partial(draw_steps, chosen=chosen, curves=curves))
    if any(is_lr(key) and _is_tried(comparison, key) for key in comparison.groups[0].keys):
        panels.append(draw_lr)
    if heat_map_keys(comparison):
        panels.append(draw_heat_map)
    return panels


def _is_tried(comparison: Comparison, key: str) -> bool:
    """Whether any optimizer was run with several values of a key, so that they can be compared."""
    optimizer = optimizer_key(comparison) or ""
    parts = partition(comparison.groups, lambda group: group.keys.get(optimizer))
    return any(len({repr(group.keys[key]) for group in part}) > 1 for part in parts)


def optimizer_key(comparison: Comparison) -> str | None:
    """The key that selects the optimizer, if it varies."""
    return next((key for key in ("optimizer", "optimizer.name") if key in comparison.keys), None)


def _ranked(comparison: Comparison) -> list[RunGroup]:
    return [group for group in comparison.groups if group.value is not None]


def draw_ranking(axes: Axes, comparison: Comparison) -> None:
    """Draw each group's mean with its 95 % interval and its runs as short strokes, the best on top.

    The values of the runs decide whether the axis is logarithmic. An interval that extends below it ends in an arrow.
    """
    shown = _ranked(comparison)[:RANKED]
    several = any(len(group.counted) > 1 for group in shown)
    title = "mean, 95 % interval, each run" if several else "one run each"
    style.dress(axes, f"{comparison.metric}: {title}", comparison.metric)
    drawn = [row.value for group in shown for row in group.counted if row.value is not None]
    floor = None
    if style.prefers_log(drawn) and not comparison.metric.endswith("accuracy"):
        floor = min(drawn) / 2
        axes.set_xscale("log")
    for place, group in enumerate(shown):
        value = group.value
        assert value is not None
        color = style.COLORS[place % len(style.COLORS)] if place < COLORED else GREY
        values = [row.value for row in group.counted if row.value is not None]
        if value.low is not None and value.high is not None:
            low = value.low if floor is None else max(value.low, floor)
            axes.plot([low, value.high], [place, place], color=color, linewidth=2, alpha=0.6)
            if low > value.low:
                axes.plot([low], [place], marker="<", color=color, markersize=5)
            axes.plot(values, [place] * len(values), "|", color=color, markersize=8)
        axes.plot([value.center], [place], "o", color=color, markersize=6)
    names = style.told_apart([comparison.label(group) for group in shown], LABEL)
    repeats = [f" (n={len(group.counted)})" if several else "" for group in shown]
    labels = [textwrap.fill(name + count, LABEL_LINE) for name, count in zip(names, repeats, strict=True)]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.5, -0.5)


def draw_learning(axes: Axes, comparison: Comparison) -> None:
    """Draw the mean of the monitored metric by epoch, with a band of one standard deviation over seeds.

    The ranking beside it has the same colors and serves as the legend, which would hide the curves.
    """
    metric, shown = comparison.monitor or comparison.metric, _ranked(comparison)[:CURVES]
    bands = any(len(group.counted) > 1 for group in shown)
    words = "mean ± std, colors" if bands else "colors"
    style.dress(axes, f"{metric} by epoch ({words} as on the left)", "epoch", metric)
    drawn: list[float] = []
    for place in reversed(range(len(shown))):
        columns = [row.source.run.metrics for row in shown[place].counted]
        x, mean, std = mean_curve(columns, "epoch", metric)
        if not x:
            continue
        look = style.line_style(place) if place < COLORED else {"color": GREY}
        mark = style.marker(len(x)) if place < COLORED else ""
        axes.plot(x, mean, linewidth=1.6 if place < COLORED else 0.8, marker=mark, markersize=3, **look)
        if place < COLORED and any(std):
            low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
        drawn += mean
    if style.prefers_log(drawn) and not metric.endswith("accuracy"):
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], min(drawn) / 2))  # a band may reach to 0
    style.whole_ticks(axes)


def mean_curve(runs: Sequence[Columns], across: str, name: str) -> tuple[list[float], list[float], list[float]]:
    """x, mean and sample standard deviation (0 for one run) at those x that all runs have."""
    found: dict[float, list[float]] = {}
    for columns in runs:
        for x, y in zip(*style.finite_points(columns.get(across, []), columns.get(name, [])), strict=True):
            found.setdefault(x, []).append(y)
    points = sorted((x, values) for x, values in found.items() if len(values) == len(runs))
    means = [math.fsum(values) / len(values) for _, values in points]
    spread = [
        math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
        for (_, values), mean in zip(points, means, strict=True)
    ]
    return [x for x, _ in points], means, spread


def _by_optimizer(comparison: Comparison) -> list[RunGroup]:
    """The best group of each optimizer, best first."""
    key = optimizer_key(comparison)
    return [some[0] for some in partition(_ranked(comparison), lambda group: group.keys.get(key or ""))]


def _step_curve(group: RunGroup) -> Curve:
    runs: list[StoredRun] = [row.source.run for row in group.counted]
    return mean_curve([run.steps for run in runs], "step", "loss")[:2]


def draw_steps(axes: Axes, comparison: Comparison, chosen: Sequence[RunGroup], curves: Sequence[Curve]) -> None:
    """Draw the training loss by step, a line for each optimizer: the mean over seeds at its best settings."""
    more = " (each optimizer at its best)" if len(chosen) < len(_ranked(comparison)) else ""
    style.dress(axes, f"Training loss by step{more}", "Steps", "Loss")
    tails = []
    for place, (group, (x, y)) in enumerate(zip(chosen, curves, strict=True)):
        look = style.line_style(place)
        smooth = style.running_mean(y, max(5, len(y) // 60)) if len(y) >= SMOOTH_FROM_STEPS else y
        if smooth is not y:
            axes.plot(x, y, color=look["color"], linewidth=0.5, alpha=0.25)
        name = style.plain(str(group.keys.get(optimizer_key(comparison) or "")), LABEL_LINE)
        tail = smooth[len(smooth) // 2 :]
        axes.plot(x, smooth, label=f"{name}: {format_number(tail[-1])}", linewidth=1.4, **look)
        tails.append(max(tail))
    _limit_loss(axes, tails, [value for _, y in curves for value in y])
    style.whole_ticks(axes)
    style.legend(axes, title="at the end", title_fontsize=8)


def _limit_loss(axes: Axes, tails: Sequence[float], values: Sequence[float]) -> None:
    """Limit the loss axis to `LOSS_LIMIT` if the second half of every curve lies below; else use a log scale if apt."""
    if LOSS_LIMIT / 50 < max(tails) < LOSS_LIMIT:
        axes.set_ylim(0, LOSS_LIMIT)
    elif style.prefers_log(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0 if min(values) >= 0 else None)

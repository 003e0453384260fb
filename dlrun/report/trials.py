"""tuning.png: what each option reached with more trials, and by its learning rate, for each workload."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.config.schema.contract import parse_literal
from dlrun.config.schema.words import WORKLOAD
from dlrun.report import style
from dlrun.report.remarks import is_lr
from dlrun.report.tuning import TrialRow, best_after

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TUNING_FIGURE = "tuning.png"
Option = tuple[tuple[str, str], ...]


def draw_tuning(trials: Sequence[TrialRow], path: Path, form: str = "png") -> Path:
    """Draw a row of two panels for each workload; the second only where a learning rate was tuned."""
    tuned = [trial for trial in trials if trial.stage == "tune"]
    parts: dict[str, list[TrialRow]] = {}
    for trial in tuned:
        parts.setdefault(trial.keys.get(WORKLOAD, ""), []).append(trial)
    rates = [next((key for key in trial.tuned if is_lr(key)), "") for trial in tuned]
    key = next((rate for rate in rates if rate), "")
    columns = 2 if key else 1
    figure = style.new_figure(5.2 * columns + 1.1, 3.1 * len(parts) + 0.4)
    axes = figure.subplots(len(parts), columns, squeeze=False)
    for row, (name, some) in enumerate(parts.items()):
        metric = next((trial.metric for trial in some if trial.metric), "")
        title = f"{name}: " if name else ""
        options = by_option(some)
        draw_best_after(axes[row][0], options, some[0].better, f"{title}best after k trials, expected", metric)
        if key:
            draw_rates(axes[row][1], options, key, f"{title}each trial", metric)
    style.headline(figure, "Tuning, by validation")
    style.legend_below(figure)
    with style.drawn_as(form):
        return style.save(figure, path)


def by_option(trials: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials of each option, by the values that tell options apart."""
    found: dict[Option, list[TrialRow]] = {}
    for trial in trials:
        option = tuple(pair for pair in trial.option if pair[0] != WORKLOAD)
        found.setdefault(option, []).append(trial)
    return {" ".join(text for _, text in option): some for option, some in found.items()}


def draw_best_after(axes: Axes, options: dict[str, list[TrialRow]], better: str, title: str, metric: str) -> None:
    """Draw the expected best value after k trials, a line for each option."""
    style.dress(axes, title, "trials", metric)
    drawn: list[float] = []
    for place, (name, trials) in enumerate(options.items()):
        curve = best_after([trial.value for trial in trials], better)
        axes.plot(range(1, len(curve) + 1), curve, label=style.plain(name, 24), marker=style.marker(len(curve)),
                  markersize=3, **style.line_style(place))  # fmt: skip
        drawn += curve
    if style.prefers_log(drawn):
        axes.set_yscale("log")
    style.whole_ticks(axes)


def draw_rates(axes: Axes, options: dict[str, list[TrialRow]], key: str, title: str, metric: str) -> None:
    """Draw the value of each trial by its learning rate; trials without a result are crosses at the top."""
    style.dress(axes, title, key, metric)
    drawn: list[float] = []
    for place, trials in enumerate(options.values()):
        look = style.line_style(place)
        found = [(parse_literal(trial.keys.get(key, "")), trial.value) for trial in trials]
        known = sorted((float(rate), value) for rate, value in found if isinstance(rate, int | float))
        kept = [(rate, value) for rate, value in known if math.isfinite(value)]
        if kept:
            axes.plot(*zip(*kept, strict=True), marker="o", markersize=4, linewidth=1.2, **look)
        lost = [rate for rate, value in known if not math.isfinite(value)]
        axes.plot(lost, [0.97] * len(lost), "x", color=look["color"], transform=axes.get_xaxis_transform())
        drawn += [value for _, value in kept]
    axes.set_xscale("log")
    if style.prefers_log(drawn):
        axes.set_yscale("log")

"""Panels on the influence of swept numbers: the learning rate by optimizer, and a heat map of two numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlrun.report import style
from dlrun.report.remarks import is_lr
from dlrun.report.stats import RunGroup, is_number, partition, rank
from dlrun.report.tables import format_number, format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dlrun.report.comparison import Comparison


def draw_lr(axes: Axes, comparison: Comparison) -> None:
    """Draw the monitored metric by learning rate, a line for each optimizer; diverged rates are crosses at the top.

    If other settings vary as well, each point is the best of them.
    """
    key = next(key for key in comparison.groups[0].keys if is_lr(key))
    usable = [group for group in comparison.groups if is_number(group.keys[key])]
    parts = partition(usable, lambda group: [group.keys.get(name) for name in ("optimizer", "optimizer.name")])
    drawn = []
    apart = _apart([group.keys[key] for group in usable], len(parts))
    for place, part in enumerate(parts):
        best = [rank(same, comparison.mode)[0] for same in partition(part, lambda group: group.keys[key])]
        shift = apart ** (place - (len(parts) - 1) / 2)
        drawn += _draw_part(axes, best, key, style.line_style(place), _name(part[0]), shift)
    others = [name for name in comparison.groups[0].keys if name not in (key, "optimizer", "optimizer.name")]
    style.dress(axes, "learning rate" + (", the rest at its best" if others else ""), key, comparison.metric)
    if all(group.keys[key] > 0 for group in usable):
        axes.set_xscale("log")
        style.name_ticks(axes, sorted({group.keys[key] for group in usable}))
    if any(group.diverged for group in usable):
        axes.margins(y=0.15)  # room for the crosses
    if style.prefers_log(drawn) and not comparison.metric.endswith("accuracy"):
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], min(drawn) / 3))  # a bar may reach to 0
    style.legend(axes)


def _apart(rates: Sequence[float], count: int) -> float:
    """The factor that separates the points of two optimizers at the same rate.

    The points of all optimizers span at most two fifths of the way to the next rate.
    """
    ordered = sorted(set(rates))
    if not ordered or ordered[0] <= 0:
        return 1.0
    gap = min((high / low for low, high in itertools.pairwise(ordered)), default=10.0)
    return float(min(1.04, gap ** (0.4 / count)))


def _name(group: RunGroup) -> str | None:
    named = group.keys.get("optimizer", group.keys.get("optimizer.name"))
    return None if named is None else style.plain(str(named))


def _draw_part(
    axes: Axes, groups: Sequence[RunGroup], key: str, look: dict[str, Any], name: str | None, shift: float
) -> list[float]:
    """Draw one optimizer's line. Returns its values."""
    ordered = sorted(groups, key=lambda group: group.keys[key])
    known = [(group.keys[key], group.value) for group in ordered if group.value is not None]
    x, mean = [lr * shift for lr, _ in known], [value.center for _, value in known]
    axes.plot(x, mean, marker="o", markersize=5, linewidth=1.6, label=name, **look)
    if any(deviations := [value.std or 0.0 for _, value in known]):
        axes.errorbar(x, mean, deviations, fmt="none", ecolor=look["color"], capsize=3)
    lost = [group.keys[key] * shift for group in ordered if group.diverged]
    if lost:
        top = axes.get_xaxis_transform()
        axes.plot(lost, [0.97] * len(lost), "x", color=look["color"], markersize=8, mew=2, transform=top)
        axes.plot([], [], "x", color=look["color"], mew=2, label=f"{name or ''} diverged".strip())
    return mean


def heat_map_keys(comparison: Comparison) -> tuple[str, str] | None:
    """Two swept numbers with at least two values each, of whose combinations more than half were tried."""
    groups = comparison.groups
    keys = [key for key in groups[0].keys if all(is_number(group.keys[key]) for group in groups)]
    for first, second in itertools.combinations(keys, 2):
        across, down = ({group.keys[key] for group in groups} for key in (first, second))
        cells = {(group.keys[first], group.keys[second]) for group in groups}
        if len(across) > 1 and len(down) > 1 and 2 * len(cells) > len(across) * len(down):
            return first, second
    return None


def draw_heat_map(axes: Axes, comparison: Comparison) -> None:
    """Draw the monitored metric by two swept numbers, at the best of others; cells without a value are crossed."""
    import matplotlib
    import numpy as np

    keys = heat_map_keys(comparison)
    assert keys is not None
    across, down = (sorted({group.keys[key] for group in comparison.groups}) for key in keys)
    cells = np.full((len(down), len(across)), np.nan)
    for same in partition(comparison.groups, lambda group: [group.keys[key] for key in keys]):
        best = rank(same, comparison.mode)[0]
        if best.value is not None:
            cells[down.index(best.keys[keys[1]]), across.index(best.keys[keys[0]])] = best.value.center
    name = "viridis" if comparison.mode == "max" else "viridis_r"
    colors = matplotlib.colormaps[name].with_extremes(bad="#eeeeee")
    finite = cells[np.isfinite(cells)]
    norm = (matplotlib.colors.LogNorm if style.prefers_log(finite.tolist()) else matplotlib.colors.Normalize)()
    norm.autoscale(finite)
    axes.imshow(cells, cmap=colors, norm=norm, aspect="auto", origin="lower")
    style.dress(axes, f"{comparison.metric} (bright is better)", *keys)
    axes.grid(False)
    axes.set_xticks(range(len(across)), [format_value(value) for value in across])
    axes.set_yticks(range(len(down)), [format_value(value) for value in down])
    if cells.size <= 120:
        for (row, column), value in np.ndenumerate(cells):
            text = format_number(float(value)) if np.isfinite(value) else "×"
            dark = np.isfinite(value) and norm(value) > 0.5 if name == "viridis_r" else norm(value) < 0.5
            axes.text(column, row, text, ha="center", va="center", fontsize=8,
                      color="white" if dark and np.isfinite(value) else style.INK)  # fmt: skip

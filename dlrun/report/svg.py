"""The curves of a run as values for an inline SVG: axes, ticks and points, on a linear and on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dlrun.plain import Values, finite
from dlrun.report import style
from dlrun.report.curves import FEW_EPOCHS, SMOOTH_FROM_ROWS, metric_names
from dlrun.report.tables import format_number
from dlrun.store.reader import StoredRun
from dlrun.store.reading import Columns

WIDTH, HEIGHT = 420, 250  # units of the SVG, close to pixels where it is shown
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 36  # margins
POINTS = 400  # of a line; of more, some evenly spaced
DOTS_UP_TO = 25  # points of a line that are marked

Line = tuple[str, str, list[float], list[float]]  # part, name, x and y
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Panel:
    """The curves of one metric over epochs or steps; `best` is where the best epoch is."""

    name: str
    across: str
    lines: Sequence[Line]
    best: float | None = None
    title: str = ""


def panels(run: StoredRun, points: int = POINTS, most: int = 3) -> list[Values]:
    """The loss, the first metric and the learning rate of a run, as curves.html.j2 draws them; none without epochs."""
    few = len(run.metrics.get("epoch", [])) <= FEW_EPOCHS and len(run.steps.get("step", [])) > 2
    across = "step" if few else "epoch"
    found = [_metric(run, name, across, points) for name in ["loss", *metric_names(run.metrics)[:1]]]
    source = run.steps if few and finite(run.steps.get("lr", [])) else run.metrics
    rates = style.finite_points(source.get(across, []), source.get("lr", []))
    found.append(Panel("learning rate", across, [("lr", "learning rate", *thinned(*rates, points))]))
    return [draw(panel) for panel in found if any(x for _, _, x, _ in panel.lines)][:most]


def _metric(run: StoredRun, name: str, across: str, points: int) -> Panel:
    columns, lines = run.metrics, list[Line]()
    if across == "step" and name == "loss":
        lines.append(_by_step(run.steps, points))
    for part, word in style.PART_NAMES.items():
        x, y = style.finite_points(columns.get(across, []), columns.get(f"{part}_{name}", []))
        if y:
            lines.append((part, word, *thinned(x, y, points)))
    epochs, best = columns.get("epoch", []), run.best().get("epoch")
    row = epochs.index(best) if best in epochs else None
    place = None if row is None or row >= len(columns.get(across, [])) else columns[across][row]
    if row is None or place is None or not math.isfinite(place):
        return Panel(name, across, lines)
    values = [
        (part, columns[f"{part}_{name}"][row]) for part in ("val", "test", "train") if f"{part}_{name}" in columns
    ]
    told = next(((part, value) for part, value in values if math.isfinite(value)), None)
    title = f"{style.PART_NAMES[told[0]]} {format_number(told[1])} at the best epoch ({best:.0f})" if told else ""
    return Panel(name, across, lines, place, title)


def _by_step(steps: Columns, points: int) -> Line:
    x, y = style.finite_points(steps.get("step", []), steps.get("loss", []))
    if len(x) < SMOOTH_FROM_ROWS:
        return "train steps", "train, by step", x, y
    return "train steps", "train, by step (mean)", *thinned(x, style.running_mean(y, max(5, len(y) // 40)), points)


def thinned(x: Sequence[float], y: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """At most `most` points of a line, the ends among them."""
    if len(x) <= most:
        return list(x), list(y)
    kept = [round(i * (len(x) - 1) / (most - 1)) for i in range(most)]
    return [x[i] for i in kept], [y[i] for i in kept]


def draw(panel: Panel) -> Values:
    """A panel in the units of the SVG, with the values that its crosshair shows."""
    xs = sorted({value for _, _, x, _ in panel.lines for value in x})
    ys = [value for _, _, _, y in panel.lines for value in y]
    across = _linear(xs[0], xs[-1], LEFT, WIDTH - RIGHT) if xs[0] < xs[-1] else _middle
    low, high = _range(ys, panel.name)
    bottom, top = HEIGHT - BOTTOM, TOP
    scales = [_scale("linear", panel, across, _linear(low, high, bottom, top), nice_ticks(low, high))]
    if min(ys) > 0 and min(ys) < max(ys):
        low, high = min(ys) / 1.08, max(ys) * 1.08
        logs = _linear(math.log(low), math.log(high), bottom, top)
        scales.append(_scale("log", panel, across, lambda y: logs(math.log(y)), log_ticks(low, high)))
    found = [dict(zip(x, y, strict=True)) for _, _, x, y in panel.lines]
    return {
        "name": panel.name,
        "across": panel.across,
        "title": panel.title,
        "parts": [(part, name) for part, name, _, _ in panel.lines],
        "ticks": [(_short(across(x)), f"{x:g}") for x in whole_ticks(xs[0], xs[-1])],
        "best": None if panel.best is None or not xs[0] <= panel.best <= xs[-1] else _short(across(panel.best)),
        "scales": scales,
        "log": len(scales) > 1 and panel.name != "accuracy" and style.prefers_log(ys),
        "hover": {
            "across": panel.across,
            "x": [f"{x:g}" for x in xs],
            "at": [_short(across(x)) for x in xs],
            "lines": [
                {"part": line[0], "name": line[1], "y": [format_number(at[x]) if x in at else None for x in xs]}
                for line, at in zip(panel.lines, found, strict=True)
            ],
        },
    }


def _scale(kind: str, panel: Panel, across: Scale, up: Scale, ticks: Sequence[float]) -> Values:
    lines = []
    for part, _, x, y in panel.lines:
        places = [(_short(across(a)), _short(up(b))) for a, b in zip(x, y, strict=True)]
        dots = places if len(places) <= DOTS_UP_TO else []
        lines.append({"part": part, "points": " ".join(f"{a:g},{b:g}" for a, b in places), "dots": dots})
    return {"kind": kind, "ticks": [(_short(up(tick)), f"{tick:.6g}") for tick in ticks], "lines": lines}


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _middle(_: float) -> float:
    return (LEFT + WIDTH - RIGHT) / 2


def _short(value: float) -> float:
    return round(value, 1)


def _range(values: Sequence[float], name: str) -> tuple[float, float]:
    """The range of the axis: with some room, and not as narrow as rounding errors."""
    low, high = min(values), max(values)
    if name == "learning rate":
        low = min(0.0, low)
    room = 0.05 * (high - low) or abs(high) / 2 or 1.0
    return (low if low == 0 and name == "learning rate" else low - room), high + room


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most one more than `most`."""
    raw = (high - low) / most
    if not raw > 0 or not math.isfinite(raw):
        return [low]
    size = 10.0 ** math.floor(math.log10(raw))
    step = next((n * size for n in (1, 2, 2.5, 5) if n * size >= raw), 10 * size)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def whole_ticks(low: float, high: float) -> list[float]:
    """Whole numbers from low to high."""
    return [x for x in nice_ticks(low, high, 7) if x == int(x)] if high > low else [low]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from low to high; between few of them 2 and 5 times these, and where it is narrow round numbers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 6))
    tens = [10.0**n for n in range(first, last + 1, every) if low <= 10.0**n <= high]
    if last - first > 3:
        return tens
    more = [m * 10.0**n for n in range(first, last + 1) for m in (1, 2, 5) if low <= m * 10.0**n <= high]
    return more if len(more) > 2 else [tick for tick in nice_ticks(low, high) if tick > 0]

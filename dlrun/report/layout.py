"""Where the panels of a figure stand: the texts beside them get the room that they need, the panels the rest.

matplotlib's constrained layout does the same in a third of a second for three panels, since it measures all that is
drawn, twice, in each of the two drawings of `savefig`. Here the sizes of texts are known (see style.py), and only what
differs from panel to panel is measured: the width of the numbers or names at the y axis, and legends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from matplotlib.transforms import Bbox
    from numpy.typing import ArrayLike

INK = "#222222"
HEADLINE, TITLE, LABEL, TICK = 11.0, 10.0, 9.0, 8.0  # sizes of text, in points
TITLES: dict[str, Any] = {"loc": "left", "fontsize": TITLE, "color": INK}
LINE = 1.2  # the height of a line, in sizes of its text
PAD, GAP = 3.0, 7.0  # points around the figure, and between its panels
TICKS = 7.0  # points from a panel to the numbers at its axes
BETWEEN = 2.5  # points between the numbers at an axis and its label
HALF = 8.0  # points by which the last number at an x axis reaches beyond the panel
SMALLEST = 0.1  # of the room, which panels get in any case


class Span(NamedTuple):
    """The first and the last column (or row) of a panel, and what its texts need before and after it, in points."""

    first: int
    last: int
    before: float
    after: float


def lay_out(figure: Figure) -> None:
    """Place the panels of a figure that are in a grid, between its headline and its legend.

    Panels that were added at a place of their own stay there.
    """
    panels = {axes: spec for axes in figure.axes if (spec := axes.get_subplotspec()) is not None}
    if not panels:
        return
    width, height = (72 * inches for inches in figure.get_size_inches())
    beside = [width_of_ticks(axes) for axes in panels]
    spans = [spans_of(axes, spec, ticks) for (axes, spec), ticks in zip(panels.items(), beside, strict=True)]
    grid = next(iter(panels.values())).get_gridspec()
    top = PAD + (HEADLINE * LINE + PAD if figure.get_suptitle() else 0.0)
    bottom = PAD + sum(extent(legend).height + PAD for legend in figure.legends)
    columns = shared_out([span for span, _ in spans], ratios(grid.get_width_ratios(), grid.ncols), PAD, width - PAD)
    rows = shared_out([span for _, span in spans], ratios(grid.get_height_ratios(), grid.nrows), top, height - bottom)
    for axes, ticks, (across, down) in zip(panels, beside, spans, strict=True):
        left, right = columns[across.first][0], columns[across.last][1]
        above, below = rows[down.first][0], rows[down.last][1]
        axes.set_position((left / width, 1 - below / height, (right - left) / width, (below - above) / height))
        if raised := power_of_ten(axes):
            axes.set_title(axes.get_title(loc="left"), y=1 + raised / (below - above), **TITLES)
        axes.yaxis.set_label_coords(-(ticks + BETWEEN) / (right - left), 0.5)
        axes.xaxis.set_label_coords(0.5, -(TICKS + TICK * LINE + BETWEEN) / (below - above))


def ratios(given: ArrayLike | None, count: int) -> list[float]:
    """The relative sizes of columns or rows, which are equal if none are given."""
    import numpy as np

    return [1.0] * count if given is None else np.asarray(given, float).tolist()


def width_of_ticks(axes: Axes) -> float:
    """What the y axis needs for its ticks and the numbers or names at them, in points."""
    if not axes.axison:
        return 0.0
    return TICKS + max((extent(label).width for label in axes.get_yticklabels() if label.get_text()), default=0.0)


def power_of_ten(axes: Axes) -> float:
    """The height of what all numbers at the y axis are to be multiplied by, which stands under the title, in points."""
    return TITLE * LINE + 3 if axes.axison and axes.yaxis.get_major_formatter().get_offset() else 0.0


def spans_of(axes: Axes, spec: SubplotSpec, ticks: float) -> tuple[Span, Span]:
    """The columns and the rows of a panel, with the room for its texts."""
    title = axes.get_title(loc="left")
    left, right, above, below = ticks, HALF, 0.0, 0.0
    if axes.axison:
        left += BETWEEN + LABEL * LINE if axes.get_ylabel() else 0.0
        below += TICKS + TICK * LINE if axes.xaxis.get_tick_params()["labelbottom"] else 0.0
        below += BETWEEN + LABEL * LINE if axes.get_xlabel() else 0.0
    if title:
        above += TITLE * LINE * (1 + title.count("\n")) + 6
    above += power_of_ten(axes)
    if legend := axes.get_legend():
        inner, outer = extent(axes), extent(legend)
        right, above = max(right, outer.x1 - inner.x1), max(above, outer.y1 - inner.y1)
    columns = Span(spec.colspan.start, spec.colspan.stop - 1, left, right)
    return columns, Span(spec.rowspan.start, spec.rowspan.stop - 1, above, below)


def extent(artist: Artist) -> Bbox:
    """The box around something that is drawn, in points."""
    from matplotlib.transforms import Affine2D

    figure = artist.get_figure(root=True)
    assert figure is not None
    return artist.get_window_extent().transformed(Affine2D().scale(72 / figure.dpi))


def shared_out(spans: Iterable[Span], shares: Sequence[float], start: float, end: float) -> list[tuple[float, float]]:
    """Where each column (or row) begins and ends, if with its texts they reach from `start` to `end`."""
    before, after = [0.0] * len(shares), [0.0] * len(shares)
    for span in spans:
        before[span.first] = max(before[span.first], span.before)
        after[span.last] = max(after[span.last], span.after)
    room = end - start - sum(before) - sum(after) - GAP * (len(shares) - 1)
    unit = max(room, SMALLEST * (end - start)) / sum(shares)
    found = []
    for share, one, other in zip(shares, before, after, strict=True):
        found.append((start + one, start + one + share * unit))
        start += one + share * unit + other + GAP
    return found

"""The style of all figures, drawn with matplotlib's object API on the Agg canvas, without global state.

Colors are Okabe and Ito's, which color-blind people can tell apart (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.report.layout import HEADLINE, INK, LABEL, PAD, TICK, TITLES, lay_out
from dlrun.report.tables import shorten
from dlrun.store.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAINT, GRID = "#6b6b6b", "#dddddd"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#4D4D4D")
PART_COLORS = {"train": COLORS[0], "val": COLORS[1], "test": COLORS[2]}
PART_NAMES = {"train": "train", "val": "validation", "test": "test"}
DASHES = ("-", "--", ":")
LEGEND: dict[str, Any] = {"fontsize": TICK, "frameon": False, "labelcolor": INK}
DPI = 100
VECTORS = ("svg", "pdf")
FORMAT: ContextVar[str] = ContextVar("format", default="png")
COMPRESSION = 3  # of PNG: a quarter of the time of 9, for files a tenth larger
HEADLINE_LETTERS = 9.0  # of a headline, in an inch
TITLE_LETTERS = 56  # of a panel's title, in a line
LOG_RATIO = 30.0  # of the largest to the smallest value, above which the scale is logarithmic


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Set the title and the labels of axes, with a light frame and grid."""
    entitle(axes, title)
    axes.set_xlabel(plain(xlabel), fontsize=LABEL, color=FAINT)
    axes.set_ylabel(plain(ylabel), fontsize=LABEL, color=FAINT)
    axes.tick_params(labelsize=TICK, colors=FAINT, which="both")
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def entitle(axes: Axes, text: str) -> None:
    """The title of a panel, at the left; a long one takes two lines."""
    axes.set_title(textwrap.fill(plain(text), TITLE_LETTERS), y=1.0, **TITLES)


def headline(figure: Figure, text: str, color: str = INK) -> None:
    """The figure's title, at the left, as long as the figure is wide."""
    letters = int(HEADLINE_LETTERS * figure.get_figwidth())
    top = 1 - PAD / 72 / figure.get_figheight()
    figure.suptitle(plain(text, letters), x=0.01, y=top, ha="left", fontsize=HEADLINE, fontweight="bold", color=color)


def legend(axes: Axes, **options: Any) -> None:
    """A small legend at the right of a panel, where it hides no curve, if there are things to tell apart."""
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(**(LEGEND | {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} | options))


def legend_below(figure: Figure) -> None:
    """One legend for all panels of a figure, in which a label means the same."""
    found = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if found:
        figure.legend(
            found.values(), found.keys(), loc="lower left", borderaxespad=PAD / TICK, ncols=len(found), **LEGEND
        )


def whole_ticks(axes: Axes) -> None:
    """Epochs and steps are counted in whole numbers; a single one has a single tick."""
    from matplotlib.ticker import MaxNLocator

    first, last = axes.dataLim.intervalx
    if first == last:
        axes.set_xticks([first])
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def name_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Put the ticks of a logarithmic x axis at these values, if they are few and not too close."""
    from matplotlib.ticker import NullLocator

    gaps = [math.log(high / low) for low, high in itertools.pairwise(values)]
    if 1 < len(values) <= 8 and min(gaps) > 0.07 * sum(gaps):
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())


def blank(axes: Axes, text: str) -> None:
    """Write a text where a plot would be."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, plain(text), ha="center", va="center", color=FAINT, fontsize=11, transform=axes.transAxes)


def warm_up() -> None:
    """Draw a small figure: the first one in a process loads fonts and file formats for a third of a second."""
    figure = new_figure(1.0, 1.0)
    axes = figure.subplots()
    axes.set_title("0123456789")
    axes.set_yscale("log")
    rendered(figure)


@contextmanager
def drawn_as(form: str) -> Iterator[None]:
    """Within this context `save` writes figures in another format, too: `svg` or `pdf` (`report.format`)."""
    token = FORMAT.set(form if form in VECTORS else "png")
    try:
        yield
    finally:
        FORMAT.reset(token)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, atomically, and in the format of `drawn_as`. Equal figures give equal files."""
    write_atomic(path, rendered(figure))
    if FORMAT.get() in VECTORS:
        write_atomic(path.with_suffix(f".{FORMAT.get()}"), vectors(figure, FORMAT.get()))
    return path


def vectors(figure: Figure, form: str) -> bytes:
    """The figure, which `rendered` has laid out, as SVG or PDF: texts stay texts, and no date is in it."""
    import warnings

    from matplotlib import rc_context

    buffer = io.BytesIO()
    dated = {"Date": None} if form == "svg" else {"CreationDate": None}
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "dlrun", "pdf.fonttype": 42}):
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format=form, metadata=dated)
    return buffer.getvalue()


def rendered(figure: Figure) -> bytes:
    """The figure as PNG. `figure.savefig` would draw it twice, and write a fourth channel that says nothing."""
    import warnings

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    with warnings.catch_warnings():  # a class name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph")
        lay_out(figure)
        canvas.draw()
    size = canvas.get_width_height()
    pixels = Image.frombuffer("RGBA", size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB")
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG", compress_level=COMPRESSION, dpi=(DPI, DPI))
    return buffer.getvalue()


def plain(text: str, limit: int = 80) -> str:
    """Text for matplotlib on one line, shortened in the middle, with dollars escaped (they enclose formulas)."""
    return shorten(" ".join(str(text).split()), limit).replace("$", r"\$")


def told_apart(names: Sequence[str], limit: int) -> list[str]:
    """The names, shortened; with their numbers in front where shortening would make two of them the same."""
    short = [plain(name, limit) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    return [plain(f"{number} {name}", limit) for number, name in enumerate(names)]


def line_style(index: int) -> dict[str, Any]:
    """The color and the line style of the line with this number."""
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[index // len(COLORS) % len(DASHES)]}


def prefers_log(values: Iterable[float]) -> bool:
    """Whether values are positive and span more than `LOG_RATIO`."""
    kept = sorted(value for value in values if math.isfinite(value))
    if len(kept) < 3 or kept[0] <= 0:
        return False
    return kept[-1] / kept[0] > LOG_RATIO


def marker(count: int) -> str:
    """The marker of a line: dots up to 25 points, none beyond."""
    return "o" if count <= 25 else ""


def finite_points(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points where x and y are finite. A line through them bridges epochs that were not evaluated."""
    pairs = [(a, b) for a, b in zip(x, y, strict=False) if math.isfinite(a) and math.isfinite(b)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The centered mean over `window` neighbors, fewer at the ends."""
    total, sums = 0.0, [0.0]
    for value in values:
        total += value
        sums.append(total)
    half = window // 2
    edges = [(max(0, i - half), min(len(values), i + half + 1)) for i in range(len(values))]
    return [(sums[high] - sums[low]) / (high - low) for low, high in edges]

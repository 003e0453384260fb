"""confusion.csv and confusion.png: the confusion matrix, legible for two classes and for a hundred."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.errors import count_of
from dlrun.report import style
from dlrun.store.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

LETTERS_PER_INCH = 12.0  # of the title
COUNTS_UP_TO = 30  # classes; with more, cells are too small for numbers


def store_confusion(run_dir: Path | str, matrix: object, labels: Sequence[str] = ()) -> None:
    """Write RUN/confusion.csv, from which `figures.draw_figures` draws confusion.png.

    Args:
        run_dir: the run directory.
        matrix: (K, K) counts, rows the true class, columns the predicted one (nested lists, numpy or torch).
        labels: K class names; their numbers when there are none.
    """
    import numpy as np

    counts = np.asarray(matrix)
    if (counts == counts.round()).all():  # else they are sums of row weights
        counts = counts.astype(np.int64)
    names = [str(label) for label in labels] or [str(i) for i in range(len(counts))]
    write_atomic(Path(run_dir) / "confusion.csv", _as_csv(counts, names).encode())


def shares(counts: np.ndarray) -> np.ndarray:
    """(K, K) shares of each true class by predicted class; NaN for classes without samples."""
    import numpy as np

    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _as_csv(counts: np.ndarray, names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))
    return text.getvalue()


def draw_confusion(path: Path, matrix: Sequence[Sequence[float]], names: Sequence[str]) -> Path:
    """Write a confusion matrix as PNG: colors are shares of the true class; returns the path.

    Args:
        path: the file to write.
        matrix: (K, K) counts, rows the true class, columns the predicted one.
        names: the K classes.
    """
    import matplotlib
    import matplotlib.colors
    import numpy as np

    counts, classes = np.asarray(matrix), len(names)
    short = style.told_apart(names, 16)
    long = max(len(name) for name in short) > 3 or classes > 20
    cell = 0.42 if classes <= COUNTS_UP_TO else 0.16  # inches
    size = 9 if classes <= 20 else 7
    margin = 0.6 + (0.009 * size * max(len(name) for name in short) if long else 0.1)  # room for names
    plot = max(3.4, cell * classes)
    title = textwrap.wrap(_verdict(counts, short), int(LETTERS_PER_INCH * plot))
    figure = style.new_figure(margin + plot + 0.3, margin + plot + 0.2 + 0.2 * len(title))
    width, height = figure.get_size_inches()
    axes = figure.add_axes((margin / width, margin / height, plot / width, plot / height))
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#eeeeee")
    norm = matplotlib.colors.PowerNorm(0.5, 0, 1)  # makes rare confusions visible
    axes.imshow(colors(norm(np.ma.masked_invalid(shares(counts)))), interpolation="nearest")  # colored cell by cell
    style.dress(axes, "", "predicted", "true")
    axes.set_title("\n".join(title), loc="left", fontsize=10, color=style.INK)
    axes.grid(False)
    axes.set_xticks(range(classes), short, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(range(classes), short, fontsize=size)
    axes.tick_params(length=0)
    if classes <= COUNTS_UP_TO:
        _write_counts(axes, counts)
    else:
        _rule(axes, classes)
    return style.save(figure, path)


def _write_counts(axes: Axes, counts: np.ndarray) -> None:
    dark = shares(counts) > 0.3
    size = 10 if len(counts) <= 12 else 8 if len(counts) <= 20 else 6.5
    for (row, column), count in _nonzero(counts):
        color = "white" if dark[row, column] else style.INK
        axes.text(column, row, said(count), ha="center", va="center", fontsize=size, color=color)


def _rule(axes: Axes, classes: int) -> None:
    """Draw a thin line after every ten classes."""
    for edge in range(10, classes, 10):
        axes.axhline(edge - 0.5, color=style.GRID, linewidth=0.6)
        axes.axvline(edge - 0.5, color=style.GRID, linewidth=0.6)


def _nonzero(counts: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    import numpy as np

    return [((int(r), int(c)), counts[r, c].item()) for r, c in np.argwhere(counts)]


def said(count: float, separator: str = "") -> str:
    """A count, or a sum of row weights in few digits."""
    return f"{count:.4g}" if isinstance(count, float) and count < 1000 else f"{count:{separator}.0f}"


def times(count: float) -> str:
    """How often, or with which weight, something occurs."""
    return count_of(count, "time") if isinstance(count, int) else f"weight {said(count)}"


def _verdict(counts: np.ndarray, short: Sequence[str]) -> str:
    """The title: how many are right, and which two classes are confused most often."""
    total, right = counts.sum().item(), counts.trace().item()
    words = f"{said(right)} of {said(total)} right ({right / total:.1%})" if total else "no samples"
    wrong = sorted(((n, r, c) for (r, c), n in _nonzero(counts) if r != c), reverse=True)
    if wrong and len(short) > 2:
        count, row, column = wrong[0]
        words += f"; {short[row]} -> {short[column]}: {times(count)}"
    return words

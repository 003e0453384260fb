"""The confusion matrix of confusion.csv for a page: shades, recall and precision, the worst confusions in words."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.report.confusion import draw_confusion, said, times
from dlrun.store.reading import MOST_TABLE, try_read_text

MOST_CLASSES = 120  # of a table; with more, a page would hold more than 14,400 cells
WORST = 10  # confusions that are told in words
SHADES = 9


@dataclass(frozen=True)
class Confusion:
    """Counts of true classes (rows) by predicted ones."""

    names: Sequence[str]
    counts: Sequence[Sequence[float]]

    @property
    def shown(self) -> bool:
        """Whether the table fits on a page."""
        return len(self.names) <= MOST_CLASSES

    def verdict(self) -> str:
        """How many rows are right."""
        total, right = sum(map(sum, self.counts)), sum(row[i] for i, row in enumerate(self.counts))
        return f"{said(right, ',')} of {said(total, ',')} right ({right / total:.1%})" if total else "no samples"

    def rows(self) -> list[tuple[str, list[tuple[str, int]], str, str]]:
        """Each true class: its name, (count, shade) by predicted class, the number of its rows, its recall."""
        found = []
        for i, (name, counts) in enumerate(zip(self.names, self.counts, strict=True)):
            total = sum(counts)
            # The root of the share makes rare confusions visible.
            shaded = [(said(n) if n else "", math.ceil(math.sqrt(n / total) * SHADES) if n else 0) for n in counts]
            found.append((name, shaded, said(total), _share(counts[i], total)))
        return found

    def precisions(self) -> list[str]:
        """The precision of each class."""
        return [_share(self.counts[i][i], sum(row[i] for row in self.counts)) for i in range(len(self.names))]

    def worst(self) -> list[str]:
        """The most frequent confusions: `8 -> 5: 79 times (8.1 % of 8)`."""
        wrong = [(-n, i, j) for i, row in enumerate(self.counts) for j, n in enumerate(row) if n and i != j]
        return [
            f"{self.names[i]} -> {self.names[j]}: {times(-n)} ({-n / sum(self.counts[i]):.1%} of {self.names[i]})"
            for n, i, j in sorted(wrong)[:WORST]
        ]


def read_confusion(path: Path) -> Confusion | None:
    """The matrix in a confusion.csv; None if there is none, or it is damaged."""
    try:
        head, *body = csv.reader(io.StringIO(try_read_text(path, MOST_TABLE) or "", newline=""))
        names, counts = head[1:], [[_number(cell) for cell in row[1:]] for row in body]
    except (csv.Error, ValueError):
        return None
    whole = len(counts) == len(names) > 0 and all(len(row) == len(names) for row in counts)
    return Confusion(names, counts) if whole and min(map(min, counts)) >= 0 else None


def _number(cell: str) -> float:
    """A count, or a sum of row weights."""
    value = int(cell) if cell.isdecimal() else float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def draw_stored(run_dir: Path | str) -> Path | None:
    """Draw RUN/confusion.png from RUN/confusion.csv; returns its path, or None if that is missing or damaged."""
    found = read_confusion(Path(run_dir) / "confusion.csv")
    return draw_confusion(Path(run_dir) / "confusion.png", found.counts, found.names) if found else None

"""The line that is printed for an epoch: names and numbers in a log, columns on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlrun.report.tables import format_number

NO_METRICS = ("epoch", "step", "lr", "epoch_seconds", "samples_per_second")  # the other columns of metrics.csv
METRIC_PARTS = ("train", "val", "test")
HEAD_EVERY = 50  # lines between two column heads


def epoch_line(row: Mapping[str, float], epochs: int, is_best: bool) -> str:
    """`epoch 3/20  train_loss 0.1234  ...  lr 0.001  12,345/s  *`"""
    words = [f"epoch {int(row['epoch']):>{len(str(epochs))}}/{epochs}"]
    words += [f"{key} {format_number(row[key])}" for key in row if key not in NO_METRICS]
    words += [f"lr {row['lr']:.3g}", f"{row['samples_per_second']:,.0f}/s"]
    return "  ".join(words) + ("  *" if is_best else "")


class EpochTable:
    """A table of epochs with aligned columns, grouped by part.

    Args:
        columns: the columns of metrics.csv.
        epochs: the number of epochs of the run.
        width: the width of the terminal. Columns that do not fit are left out.
    """

    def __init__(self, columns: Sequence[str], epochs: int, width: int) -> None:
        self.epochs, self.lines = epochs, 0
        metrics = [tuple(name.split("_", 1)) for name in columns if name not in NO_METRICS]
        wide = max(5, 2 * len(str(epochs)) + 1)
        self.columns = [("", "epoch", wide)]  # part, name, width
        self.columns += [(part, name, max(8, len(name) + 1)) for part, name in metrics]
        self.columns += [("", "lr", 9), ("", "samples/s", 11)]
        while sum(size for *_, size in self.columns) + 4 > width and len(self.columns) > 2:
            self.columns.pop()

    def head(self) -> list[str]:
        """The lines with the names of the columns, before every `HEAD_EVERY` epochs; else none."""
        self.lines += 1
        if self.lines % HEAD_EVERY != 1:
            return []
        parts, before = "", ""
        for part, _, size in self.columns:
            new = part in METRIC_PARTS and part != before
            parts += f"{part:>{size}}" if new else " " * size
            before = part
        return [f"  {parts}".rstrip(), "  " + "".join(f"{name:>{size}}" for _, name, size in self.columns)]

    def line(self, row: Mapping[str, float], is_best: bool) -> str:
        """The line of one epoch. Missing metrics are empty, and a star marks the best epoch so far."""
        cells = [f"{self.cell(row, part, name):>{size}}" for part, name, size in self.columns]
        return "  " + "".join(cells) + (" *" if is_best else "")

    def cell(self, row: Mapping[str, float], part: str, name: str) -> str:
        """The text of one cell."""
        if name == "epoch":
            return f"{int(row['epoch'])}/{self.epochs}"
        if part:
            return format_number(row.get(f"{part}_{name}"))
        return f"{row['lr']:.3g}" if name == "lr" else f"{row['samples_per_second']:,.0f}"

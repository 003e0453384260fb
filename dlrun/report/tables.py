"""Tables for the screen: drawn by rich on a terminal, and as aligned plain text elsewhere; text of numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from dlrun.errors import count_of
from dlrun.plain import four_digits, numbers, one_line, printable, say
from dlrun.store.rundir import with_vectors

STATUS_STYLES = {
    "finished": "green", "running": "cyan", "failed": "red", "dead": "red", "interrupted": "yellow",
    "waiting": "dim",
}  # fmt: skip
UNBROKEN = 12  # characters of a cell that are never broken over lines
LONGEST_CELL = 60  # characters of a setting in a table or on a page
FIGURES = {  # what is in each, for those who cannot see it
    "curves.png": "Loss, metric and learning rate by epoch",
    "confusion.png": "Confusion matrix: true classes by predicted classes",
    "mistakes.png": "The surest mistakes",
    "fit.png": "The fitted curve and the data",
    "reconstructions.png": "Inputs and their reconstructions",
}
SHOWN_FILES = (*FIGURES, "profile.txt", "checkpoints/best.pt", "checkpoints/last.pt")


@dataclass(frozen=True)
class Table:
    """Cells of text under headers, with a title above and notes below. `str(table)` is the plain form.

    `spare` are the headers of columns that are left out on a narrow terminal, the least important first; `elsewhere`
    says where their values can be found.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = field(default_factory=tuple)
    spare: Sequence[str] = ()
    elsewhere: str = ""
    result: int | None = None  # the row with the test result

    def __post_init__(self) -> None:
        """Escape control characters, which may come from files."""
        shown = {
            "headers": [one_line(cell) for cell in self.headers],
            "rows": [[one_line(cell) for cell in row] for row in self.rows],
            "title": one_line(self.title),
            "notes": tuple(printable(note) for note in self.notes),
        }
        vars(self).update(shown)

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in (self.headers, *self.rows)) for i in range(len(self.headers))]
        right = self._numeric()
        lines = [self.title] if self.title else []
        for row in (self.headers, *self.rows):
            cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, *self.notes])

    def fitted(self, width: int) -> Table:
        """The table without the spare columns that do not fit into `width` characters."""
        spare = [header for header in self.spare if header in self.headers]
        kept, left_out = self, list[str]()
        while spare and kept._width() > width:
            left_out.append(spare.pop(0))
            kept = self._without(left_out)
        if not left_out:
            return self
        lost = ", ".join(header for header in self.headers if header in left_out)
        note = f"{width} columns have no room for: {lost}" + (f" ({self.elsewhere})" if self.elsewhere else "")
        return replace(kept, notes=(*self.notes, note))

    def _without(self, headers: Sequence[str]) -> Table:
        kept = [i for i, header in enumerate(self.headers) if header not in headers]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, headers=[self.headers[i] for i in kept], rows=rows)

    def _width(self) -> int:
        """The width in characters as rich draws the table, with its padding."""
        from rich.cells import cell_len

        columns = zip(self.headers, *self.rows, strict=True)
        return 1 + sum(3 + max(cell_len(cell) for cell in column) for column in columns)

    def _numeric(self) -> list[bool]:
        columns = list(zip(*self.rows, strict=True)) or [() for _ in self.headers]
        return [all(_is_numeric(cell) for cell in column) and any(column) for column in columns]

    def rich(self) -> Any:
        """The table as a rich renderable."""
        from rich import box
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=box.SIMPLE_HEAD, title=Text(self.title) if self.title else None, title_justify="left")
        for i, (header, right) in enumerate(zip(self.headers, self._numeric(), strict=True)):
            whole = right or max(len(row[i]) for row in (self.headers, *self.rows)) <= UNBROKEN
            table.add_column(Text(header), justify="right" if right else "left", overflow="fold", no_wrap=whole)
        for row in self.rows:
            table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
        return Group(table, *(Text(note) for note in self.notes))


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """Print a table to a file (by default standard output), with rich if that is a terminal."""
    out = file or sys.stdout
    if out.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        console = Console(file=out, highlight=False)
        console.print(table.fitted(console.width).rich())
    else:
        say(str(table), file=out)


def closing_table(summary: Mapping[str, Any], run_dir: Path | None = None) -> Table:
    """The table at the end of a run: best, last and test metrics, the baseline, times and files.

    Args:
        summary: the content of summary.json.
        run_dir: the run directory, whose files are listed.
    """
    moments = _closing_rows(summary)
    names = list(dict.fromkeys(name for _, values in moments for name in values))
    rows = [[moment, *(format_number(values.get(name)) for name in names)] for moment, values in moments]
    notes = tuple(line for line in (_effort(summary), _places(run_dir)) if line)
    result = next((i for i, (moment, _) in enumerate(moments) if moment == _test_name(summary)), None)
    return Table(["", *names] if rows else [], rows, notes=notes, result=result)


def some_of(used: float, rows: float) -> str:
    """`10,000`, or `320 of 10,000` if not all rows are used."""
    return f"{rows:,.0f}" if used == rows else f"{used:,.0f} of {rows:,.0f}"


def _cut(summary: Mapping[str, Any], part: object) -> str:
    """`, 320 of 10,000 rows` for a part of which not all rows are used; else empty."""
    counts = numbers(summary.get("counts"))
    used, rows = counts.get(f"{part}_used"), counts.get(str(part))
    return "" if used is None or rows is None or used == rows else f", {some_of(used, rows)} rows"


def _closing_rows(summary: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    rows = []
    best, last = (numbers(summary.get(moment)) for moment in ("best", "last"))
    same = "epoch" in best and best["epoch"] == last.get("epoch")
    for moment, values in (("best and last", best),) if same else (("best", best), ("last", last)):
        epoch = f" (epoch {values['epoch']:.0f})" if "epoch" in values else ""
        parts = ("train", "val", "test")
        rows += [(f"{part}, {moment}{epoch}{_cut(summary, part)}", _of_part(values, part)) for part in parts]
    base = summary.get("baseline")
    cut = _cut(summary, base.get("part")) if isinstance(base, Mapping) else ""
    rows.append((_test_name(summary), numbers(summary.get("test"))))
    known = numbers(base)
    if summary.get("loss") == "mse" and "mse" in known:  # it belongs into the column of the loss
        known = {"loss": known.pop("mse"), **known}
    rows.append((f"{baseline_name(base)}{cut}", known))
    rival = summary.get("rival")
    rows.append((f"{baseline_name(rival)}{cut}", numbers(rival)))
    return [(moment, values) for moment, values in rows if values]


def _test_name(summary: Mapping[str, Any]) -> str:
    """`test of best`: the row of the test metrics, with the checkpoint that was tested."""
    test = summary.get("test")
    of = test.get("of") if isinstance(test, Mapping) else None
    return (f"test of {of}" if of else "test") + _cut(summary, "test")


def _of_part(values: Mapping[str, float], part: str) -> dict[str, float]:
    prefix = f"{part}_"
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def baseline_name(baseline: object) -> str:
    """The name of the baseline, which always predicts the majority class or the mean value."""
    if not isinstance(baseline, Mapping):
        return "baseline"
    named = baseline.get("of") or baseline.get("name")
    return str(named) if named else "majority class" if "accuracy" in baseline else "mean value"


def _effort(summary: Mapping[str, Any]) -> str:
    times, counts = numbers(summary.get("times")), numbers(summary.get("counts"))
    words = []
    if "total_seconds" in times:
        words.append(f"{format_seconds(times['total_seconds'])} in all")
    words += [f"{format_seconds(times[f'{key}_seconds'])} {word}" for key, word in
              (("train", "training"), ("eval", "evaluating")) if f"{key}_seconds" in times]  # fmt: skip
    if "samples_per_second" in times:
        words.append(f"{times['samples_per_second']:,.0f} samples/s")
    words += [count_of(counts[f"{word}s"], word) for word in ("epoch", "step", "parameter") if f"{word}s" in counts]
    return " · ".join(words)


def _places(run_dir: Path | None) -> str:
    if run_dir is None:
        return ""
    there = [name for name in with_vectors(SHOWN_FILES) if (run_dir / name).exists()]
    return f"{run_dir}/" + (f": {', '.join(there)}" if there else "")


def _is_numeric(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] in "-±+<" and any(c.isdigit() for c in cell)) or cell == "nan"


def format_number(value: float | None) -> str:
    """A number as `four_digits` writes it, and with four decimals from 0.001 to 10; empty for None."""
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(float(f"{value:.4g}")) < 10 else four_digits(value)


def format_seconds(seconds: float | None) -> str:
    """`12.3 s`, `4 min 05 s` or `2 h 03 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_value(value: object) -> str:
    """A configuration value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(format_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{format_value(item)}' for key, item in value.items())}}}"
    return str(value)


def shorten(text: str, limit: int = LONGEST_CELL) -> str:
    """The text, shortened in the middle to `limit` characters."""
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - half]}…{text[-half:]}"

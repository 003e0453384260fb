"""The table of a comparison, with a row for each group, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlrun.errors import count_of
from dlrun.report.folds import span
from dlrun.report.jobs import REPEATS
from dlrun.report.stats import ConfidenceInterval, RunGroup, difference
from dlrun.report.tables import Table, format_number, format_seconds, format_value, shorten

if TYPE_CHECKING:
    from dlrun.report.comparison import Comparison


def grouped_table(comparison: Comparison) -> Table:
    """The columns settings, n, ranked metric with its spread, test metrics and time, without empty ones."""
    groups = comparison.groups
    columns = [*_settings(comparison), ("n", [_runs(group) for group in groups])]
    values = [group.value for group in groups]
    columns.append((comparison.metric, [format_number(v.mean if v else None) for v in values]))
    columns += _spread(values)
    if any(group.folds for group in groups):
        columns.append(("to the best", ["", *(span(difference(group, groups[0])) for group in groups[1:])]))
    for name in comparison.test_names():
        tests = [span(group.test(name)) if group.folds else _with_spread(group.test(name)) for group in groups]
        columns.append((f"test_{name}", tests))
    columns.append(("time", [format_seconds(group.seconds) for group in groups]))
    to_target = f"to {comparison.metric} {format_number(comparison.target)}"
    if comparison.target is not None:
        columns.append((to_target, [_reached(group) for group in groups]))
    columns.append(("not counted", [_not_counted(group) for group in groups]))
    columns = [(header, cells) for header, cells in columns if any(cells)]
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    tested = [f"test_{name}" for name in comparison.test_names()]
    spare = ["std", "to the best", *tested[:0:-1], "time", to_target, *tested[:1], "95 % interval", "not counted"]
    return Table(
        [header for header, _ in columns],
        rows,
        spare=spare,
        elsewhere="each run is in results.csv; a pipe, as in `| less -S`, gets the whole table",
    )


def _runs(group: RunGroup) -> str:
    """The number of runs that count, and of how many folds they are."""
    folds = f" ({count_of(len(group.folds), 'fold')})" if group.folds else ""
    return f"{len(group.counted)}{folds}"


def _settings(comparison: Comparison) -> list[tuple[str, list[str]]]:
    keys = [key for key in comparison.keys if key not in REPEATS]
    if not keys:
        return [("run", [comparison.label(group) for group in comparison.groups])]
    short = comparison.short
    return [(short[key], [shorten(format_value(group.keys[key])) for group in comparison.groups]) for key in keys]


def _spread(values: list[ConfidenceInterval | None]) -> list[tuple[str, list[str]]]:
    std = ["" if v is None or v.std is None else format_number(v.std) for v in values]
    span = [
        "" if v is None or v.low is None else f"{format_number(v.low)} to {format_number(v.high)}" for v in values
    ]  # fmt: skip
    return [("std", std), ("95 % interval", span)]


def _with_spread(value: ConfidenceInterval | None) -> str:
    if value is None:
        return ""
    return format_number(value.mean) + (f" ± {format_number(value.std)}" if value.std is not None else "")


def _reached(group: RunGroup) -> str:
    if group.reached is None:
        return "-"
    count, epochs, seconds = group.reached
    share = "" if count == len(group.rows) else f" ({count} of {len(group.rows)})"
    return f"{epochs:.3g} epochs, {format_seconds(seconds)}{share}"


def _not_counted(group: RunGroup) -> str:
    """`2 diverged, 1 failed`: the rows that are not in n."""
    words = ["diverged" if row.diverged else row.status for row in group.rows if not row.counts]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))

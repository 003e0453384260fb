"""The table of a comparison, with a row for each group, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlrun.errors import count_of
from dlrun.report.folds import span
from dlrun.report.intervals import ConfidenceInterval
from dlrun.report.jobs import REPEATS
from dlrun.report.pairs import difference
from dlrun.report.stats import PairRow, RunGroup
from dlrun.report.tables import Table, format_number, format_seconds, format_value, shorten

if TYPE_CHECKING:
    from dlrun.report.comparison import Comparison

LOST, OPEN = "lost", "not counted"  # columns: runs that ended without a result, and those that have none yet


def grouped_table(comparison: Comparison) -> Table:
    """The columns settings, n, ranked metric with its spread, test metrics and time, without empty ones."""
    groups = comparison.groups
    columns = [*setting_columns(comparison), ("n", [_runs(group) for group in groups])]
    values = [group.value for group in groups]
    ranked_by = f"last {comparison.metric}" if comparison.by_last else comparison.metric
    columns.append((ranked_by, [_center(value) for value in values]))
    columns += _spread(values) if comparison.comparable else []
    if comparison.by_last:
        columns.append((f"best {comparison.metric}", [_with_spread(group.best) for group in groups]))
    if any(group.folds for group in groups):
        columns.append(("to the best", ["", *(span(difference(group, groups[0])) for group in groups[1:])]))
    for name in comparison.test_names():
        tests = [span(group.test(name)) if group.folds else _with_spread(group.test(name)) for group in groups]
        columns.append((f"test_{name}", tests))
    columns.append(("time", [format_seconds(group.seconds) for group in groups]))
    to_target = f"to {comparison.monitor or comparison.metric} {format_number(comparison.target)}"
    if comparison.target is not None:
        columns.append((to_target, [_reached(group) for group in groups]))
    columns.append((LOST, [_words(group.lost) for group in groups]))
    columns.append((OPEN, [_words([row for row in group.rows if not (row.counts or row.lost)]) for group in groups]))
    columns = [(header, cells) for header, cells in columns if any(cells)]
    rows = list(zip(*(cells for _, cells in columns), strict=True))
    tested = [f"test_{name}" for name in comparison.test_names()]
    spare = ["std", "to the best", *tested[:0:-1], "time", to_target, *tested[:1], "95 % interval", LOST, OPEN]
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


def setting_columns(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """The columns of the settings: a header and a cell for each option."""
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


def _center(value: ConfidenceInterval | None) -> str:
    """The mean, or the median where runs were lost."""
    return "" if value is None else format_number(value.center) + (" (median)" if value.is_median else "")


def _with_spread(value: ConfidenceInterval | None) -> str:
    if value is None:
        return ""
    if value.std is None:
        return _center(value)
    std = 0.0 if value.std < 1e-12 * abs(value.center) else value.std  # of equal values, by rounding
    return f"{_center(value)} ± {format_number(std)}"


def _reached(group: RunGroup) -> str:
    """`120 steps, 7,680 samples, 3.1 s (5 of 6)`: the medians, and how many runs reached the target."""
    times = group.reached
    if times is None:
        return "-"
    share = f" ({times.count} of {times.n})"
    if times.median is None:
        return f"not reached by half{share}"
    units = {"steps": times.median.steps, "samples": times.median.samples}
    words = [f"{value:,.0f} {unit}" for unit, value in units.items() if value is not None]
    return ", ".join(word for word in (*words, format_seconds(times.median.seconds)) if word) + share


def _words(rows: list[PairRow]) -> str:
    """`2 diverged, 1 failed`: what became of these rows."""
    words = ["diverged" if row.diverged else row.status for row in rows]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))

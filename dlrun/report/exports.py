"""A comparison for programs, as JSON, and for a paper, as a table in LaTeX (package booktabs)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlrun.plain import Values, printable
from dlrun.report.comparison import Comparison
from dlrun.report.grouped import grouped_table, setting_columns
from dlrun.report.intervals import ConfidenceInterval
from dlrun.report.pair_table import notes_on, pair_values, shown_pairs
from dlrun.report.profiles import profile_json, profiles
from dlrun.report.stats import RunGroup
from dlrun.report.tables import format_number
from dlrun.report.targets import Reached

NEVER = Reached(None, None, None)
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "…": r"\dots{}",
}  # fmt: skip


def comparison_json(comparison: Comparison) -> Values:
    """All that the table, the pairs and the remarks say, as plain values; None where there is no number."""
    return {
        "metric": comparison.metric,
        "mode": comparison.mode,
        "ranked_by": "last" if comparison.by_last else "best",
        "comparable": comparison.comparable,
        "target": comparison.target,
        "keys": comparison.keys,
        "options": [option_json(comparison, rank, group) for rank, group in enumerate(comparison.groups, 1)],
        "pairs": [pair_values(pair, comparison.label) for pair in comparison.pairs.found],
        "pairs_in_all": comparison.pairs.count,
        "notes": list(notes_on(comparison.pairs, shown_pairs(comparison.pairs), comparison.label)),
        "remarks": comparison.remarks,
        "runs": [
            {
                "path": str(job.run.path), "status": job.status, "command": job.command,
                "keys": {key: job.setting(key) for key in comparison.keys},
            }
            for job in comparison.jobs
        ],
        "folder": str(comparison.folder) if comparison.folder else None,
        "workloads": {name: comparison_json(part) for name, part in comparison.workloads},
        "profiles": [profile_json(one) for one in profiles(comparison.workloads)],
    }  # fmt: skip


def option_json(comparison: Comparison, rank: int, group: RunGroup) -> Values:
    """What the table says of an option."""
    times = group.reached if comparison.target is not None else None
    return {
        "rank": rank,
        "name": comparison.label(group),
        "keys": dict(group.keys),
        "n": len(group.counted),
        "lost": len(group.lost),
        "folds": len(group.folds),
        "values": {name: _interval_json(value) for name, value in measured_values(comparison, group).items()},
        "seconds": group.seconds,
        "reached": None if times is None else {"share": times.share, "n": times.n, **vars(times.median or NEVER)},
    }


def measured_values(comparison: Comparison, group: RunGroup) -> dict[str, ConfidenceInterval]:
    """By the names of their columns, the ranked metric and those of the test part, as far as an option has them."""
    values = {comparison.metric: group.value, **{f"test_{n}": group.test(n) for n in comparison.test_names()}}
    if comparison.by_last:
        values[f"best_{comparison.metric}"] = group.best
    return {name: value for name, value in values.items() if value is not None}


def option_columns(comparison: Comparison, rank: int, group: RunGroup) -> dict[str, Any]:
    """What the table says of an option, as columns of results.csv."""
    values = option_json(comparison, rank, group)
    found: dict[str, Any] = {f"option.{name}": values[name] for name in ("rank", "n", "lost")}
    if group.folds:
        found["option.folds"] = values["folds"]
    for name, value in values["values"].items():
        found |= {f"option.{name}": value.pop("center"), f"option.{name}.is": value.pop("is")}
        found |= {f"option.{name}.{part}": number for part, number in value.items() if part != "n"}
    found |= {f"option.reached.{name}": value for name, value in (values["reached"] or {}).items()}
    return {name: "" if value is None else value for name, value in found.items()}


def _interval_json(value: ConfidenceInterval) -> Values:
    center = {"center": value.center, "is": "median" if value.is_median else "mean"}
    return {**center, "n": value.n, "std": value.std, "low": value.low, "high": value.high}


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def latex_table(comparison: Comparison) -> str:
    r"""The table of options for a paper, which needs `\usepackage{booktabs}`.

    The best option and those that it cannot be told apart from are bold, where any differ; what the numbers rest on
    stands below as comments. Of several workloads there is a table each.
    """
    if comparison.workloads:
        return "\n\n".join(f"% {printable(name)}\n{latex_table(part)}" for name, part in comparison.workloads)
    table, names = grouped_table(comparison), setting_columns(comparison)
    measures = list(dict.fromkeys(name for group in comparison.groups for name in measured_values(comparison, group)))
    rest = [header for header in table.headers if header in ("lost", "not counted")]
    headers = [*(name for name, _ in names), "n", *measures, *rest]
    strong = _strong(comparison)
    rows = []
    for place, group in enumerate(comparison.groups):
        values = measured_values(comparison, group)
        cells = [escape(cells[place]) for _, cells in names]
        cells += [str(len(group.counted)), *(_number(values.get(name)) for name in measures)]
        cells += [escape(table.rows[place][list(table.headers).index(header)]) for header in rest]
        bold = len(names) + 1
        if place in strong and cells[bold]:
            cells[bold] = rf"\boldmath {cells[bold]}"
        rows.append(" & ".join(cells) + r" \\")
    columns = "l" * len(names) + "r" * (1 + len(measures)) + "l" * len(rest)
    head = " & ".join(escape(header) for header in headers) + r" \\"
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*body, *_comments(comparison)])


def _strong(comparison: Comparison) -> set[int]:
    """The places of the best option and of those that it cannot be told apart from."""
    pairs = comparison.pairs.of(comparison.groups[0]) if comparison.groups else []
    if not any(pair.differ for pair in comparison.pairs.found):
        return set()
    alike = [pair.second for pair in pairs if not pair.differ and pair.second.value is not None]
    return {place for place, one in enumerate(comparison.groups) if place == 0 or any(one is other for other in alike)}


def _number(value: ConfidenceInterval | None) -> str:
    """`$0.9120$ [0.8800, 0.9440]`, or a median."""
    if value is None:
        return "--"
    if value.low is None or value.high is None:
        return f"${_digits(value.center)}$" + (" (median)" if value.is_median else "")
    return f"${_digits(value.center)}$ $[{_digits(value.low)}, {_digits(value.high)}]$"


def _digits(value: float) -> str:
    """A number in math mode, `1.2 \\times 10^{-5}` with an exponent."""
    mantissa, _, exponent = format_number(value).partition("e")
    if not math.isfinite(value):
        return r"\infty" if value > 0 else r"-\infty"
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa


def _comments(comparison: Comparison) -> Sequence[str]:
    notes = notes_on(comparison.pairs, shown_pairs(comparison.pairs), comparison.label)
    intervals = "Numbers are means with 95 % intervals; a median stands where runs were lost."
    return [f"% {' '.join(printable(line).split())}" for line in (intervals, *comparison.remarks, *notes)]


def escape(text: str) -> str:
    """A text on one line, as LaTeX prints it unchanged."""
    return "".join(LATEX.get(char, char) for char in " ".join(printable(text).split()))

"""What is in a table: its columns and their types, the likely target, rows that are there twice, suspicious columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from dlrun.checks.findings import NAME, Cells, Findings, balance_table, duplicate_counts, repeats, share
from dlrun.checks.giveaway import SAMPLE, SURE, TargetSample, is_group
from dlrun.config.overrides.values import as_text
from dlrun.data.csv_files import normal_word
from dlrun.data.table.columns import Column
from dlrun.data.table.read import DataTable
from dlrun.data.table.schema import read_types
from dlrun.data.table.types import ORDERS, Typed, left_out, type_all, typed
from dlrun.errors import DataError, count_of
from dlrun.plain import Values
from dlrun.report import tables
from dlrun.report.tables import shorten

TARGETS = (  # headers of a target, the likeliest first
    *("target", "label", "labels", "class", "classes", "y", "outcome", "response", "diagnosis", "species", "survived"),
    *("churn", "default", "price"),
)
EXAMPLES = 3
SHOWN = 200  # columns on the screen
CHECKED = 300  # columns that are held against the target, each some 20 ms
FEW = 20  # whole numbers in a target that may be classes


def inspect_table(
    paths: Sequence[str], table: DataTable, keys: Values, target: str | None, words: Sequence[str]
) -> Findings:
    """The findings on a table. `keys` are those of `dataset=table`, `words` the overrides that the command repeats.

    Raises `DataError` for a column that is asked for and is not there, or that cannot be of the type that was told.
    """
    known, dropped = read_types(keys["schema"]) if keys["schema"] else ({}, [])
    columns, remarks, told = type_columns(table, keys["types"] or {}, known)
    exact, normal = duplicate_counts(columns)
    goal = target_of(table, columns, target)
    found = [describe_column(cells) for cells in columns]
    facts: Values = {
        "kind": "table", "paths": list(paths), "rows": table.rows, "columns": found,
        "duplicates": {"exact": exact, "normal_form": normal}, "target": None, "gives_away": [], "groups": [],
    }  # fmt: skip
    shown = [columns_table(found, table.rows)]
    hindrance = "no column is fit to be a target"
    if goal is not None:
        facts["target"], balance, more = about_target(goal, keys["task"], guessed=target is None)
        shown += balance
        remarks += more
        outside = {goal.name, *keys["drop"], *keys["id"], *dropped}
        others = [cells for cells in columns if cells.name not in outside]
        hindrance = hindrance_of(facts, others)
        if not hindrance:
            suspects(facts, goal, others)
            remarks += suspicions(facts, goal.name, others)
    remarks += repeats(exact, normal, table.rows, "ids, case, outer blanks and digits beyond the sixth")
    if goal is None or hindrance:
        return Findings(facts, table.notes, shown, [*remarks, f"nothing can be learned from it: {hindrance}"], [])
    path = list(paths) if len(paths) > 1 else paths[0]
    command = ["dataset=table", f"dataset.path={as_text(path)}", f"dataset.target={as_text(goal.name)}", *words]
    command += [f"dataset.types={as_text({**(keys['types'] or {}), **told})}"] if told else []
    return Findings(facts, table.notes, shown, remarks, command)


def type_columns(
    table: DataTable, forced: Mapping[str, str], known: Mapping[str, Typed]
) -> tuple[list[Cells], list[str], dict[str, str]]:
    """The columns with their types, remarks, and types that have to be told: of dates that can be read both ways."""
    for name in forced:
        table.column(name, "dataset.types")
    columns, remarks, told = [], list[str](), dict[str, str]()
    for column in table.columns:
        try:
            (kind,) = type_all([column], forced, known=known)
        except DataError as error:
            if column.name in forced:
                raise
            kind, told[column.name] = as_either(column)
            remarks.append(str(error))
        columns.append(Cells(column, kind))
        remarks += kind.notes
    return columns, remarks, told


def as_either(column: Column) -> tuple[Typed, str]:
    """A date that can be read in several orders, in the first of them, and that order."""
    for order in ORDERS:
        with suppress(DataError):
            return replace(typed(column, order), why=f"read as {order}, which has to be told"), order
    raise AssertionError("it is a date in two orders")


def describe_column(cells: Cells) -> Values:
    """One column in plain values."""
    numbers = cells.column.numbers
    if numbers is not None:
        there = numbers[~np.isnan(numbers)]
        count, distinct = len(there), len(np.unique(there))
        examples = [f"{value:.15g}" for value in dict.fromkeys(there[:SAMPLE].tolist())]
    else:
        count, distinct, examples = sum(cells.counts.values()), len(cells.counts), list(cells.counts)
    missing = cells.column.rows - count
    return {
        "name": cells.name, "type": cells.kind.type, "why": cells.kind.why, "missing": missing,
        "missing_share": missing / cells.column.rows, "distinct": distinct, "range": range_of(cells),
        "examples": examples[:EXAMPLES],
    }  # fmt: skip


def range_of(cells: Cells) -> str:
    """From the least to the largest value; the commonest of words; the length of texts."""
    words, kind = cells.column.numbers is None, cells.kind.type
    if words and not cells.counts:
        return ""
    if words and kind in ("text", "id"):
        lengths = list(map(len, cells.counts))
        return f"{min(lengths):,} to {max(lengths):,} characters"
    if words and kind in ("category", "boolean", "constant"):
        most = max(cells.counts, key=lambda text: cells.counts[text])
        return f"{shorten(most, NAME // 2)} {share(cells.counts[most], cells.column.rows)}"
    values = cells.column.numbers if cells.column.numbers is not None and kind != "date" else cells.values[:, -1]
    values = values[~np.isnan(values)]
    if not len(values):
        return ""
    if kind == "date":
        first, last = (np.datetime64(int(day), "D") for day in (values.min(), values.max()))
        return f"{first} to {last}"
    return f"{values.min():.6g} to {values.max():.6g}"


def columns_table(found: Sequence[Values], rows: int) -> tables.Table:
    """The table of the columns."""
    cells = [
        (
            shorten(each["name"], NAME), each["type"], shorten(each["why"], NAME),
            share(each["missing"], rows) if each["missing"] else "",
            f"{each['distinct']:,}", each["range"], ", ".join(shorten(text, NAME // 2) for text in each["examples"]),
        )
        for each in found[:SHOWN]
    ]  # fmt: skip
    headers = ["column", "type", "why", "missing", "distinct", "range", "examples"]
    more = [f"and {len(found) - SHOWN:,} more columns (all of them with --json)"] if len(found) > SHOWN else []
    return tables.Table(headers, cells, notes=more, spare=["why", "examples", "range"], elsewhere="all with --json")


def target_of(table: DataTable, columns: Sequence[Cells], told: str | None) -> Cells | None:
    """The column that was told, or the likely one: by its header, else the last that is no date and is not left out."""
    if told is not None:
        return columns[table.names.index(table.column(told, "--target").name)]
    fit = [cells for cells in columns if not left_out(cells.kind) and cells.kind.type != "date"]
    by_word = {normal_word(cells.name): cells for cells in reversed(fit)}
    return next((by_word[word] for word in TARGETS if word in by_word), fit[-1] if fit else None)


def about_target(goal: Cells, task: str, guessed: bool) -> tuple[Values, list[tables.Table], list[str]]:
    """Plain values on the target, the balance of its classes, and remarks."""
    number = goal.kind.type == "number" if task == "auto" else task == "regression"
    name, counts = repr(goal.name), goal.counts
    facts: Values = {"name": goal.name, "task": "regression" if number else "classification", "guessed": guessed}
    facts["missing"] = goal.column.rows - sum(counts.values())
    remarks = [f"{name} is taken for the target; another one: --target NAME"] if guessed else []
    remarks += [f"{count_of(facts['missing'], 'row')} without {name} are not used"] if facts["missing"] else []
    if number and not (len(counts) <= FEW and all(text.lstrip("+-").isdigit() for text in counts)):
        return facts, [], remarks
    if number and len(counts) > 1:
        remarks.append(f"{name} has {len(counts)} whole numbers: if they are classes, say dataset.task=classification")
    facts["classes"] = dict(sorted(counts.items(), key=lambda pair: -pair[1]))
    return facts, [balance_table(f"{goal.name} ({facts['task']})", counts)], remarks


def hindrance_of(facts: Values, others: Sequence[Cells]) -> str:
    """Why nothing can be trained on the table; the empty string where it can."""
    known = facts["rows"] - facts["target"]["missing"]
    if known < 2:
        return f"{count_of(known, 'row')} with a target"
    if len(facts["target"].get("classes", "ab")) < 2:
        return f"{facts['target']['name']!r} has one value"
    return "" if any(not left_out(cells.kind) for cells in others) else "all columns but the target are left out"


def suspects(facts: Values, goal: Cells, others: Sequence[Cells]) -> None:
    """Add the columns that look like groups, and those that give the target away."""
    classes = facts["target"]["task"] == "classification"
    known = goal.levels if classes else goal.values[:, 0]
    sample = TargetSample(known, classes)
    distinct = {each["name"]: each["distinct"] for each in facts["columns"]}
    for cells in others:
        again = 2 * distinct[cells.name] <= len(known)
        if again and (cells.of_levels or cells.kind.type == "number"):
            values = cells.values[:, 0]
            if bool((values[~np.isnan(values)] % 1 == 0).all()) and is_group(
                values, known, classes, not cells.of_levels
            ):
                facts["groups"].append(cells.name)
    for cells in [cells for cells in others if not left_out(cells.kind)][:CHECKED]:
        score = sample.score(cells.values, cells.of_levels)
        if score >= SURE:
            measure = "balanced accuracy" if classes else "R2"
            facts["gives_away"].append({"column": cells.name, "score": score, "measure": measure})


def suspicions(facts: Values, target: str, others: Sequence[Cells]) -> list[str]:
    """Remarks on suspicious columns."""
    lines = [
        f"{name!r} looks like a group: its values repeat, and {target!r} is constant within each. "
        f"To keep the rows of a group in one part: dataset.group={as_text(name)}"
        for name in facts["groups"]
    ]
    lines += [
        f"{each['column']!r} gives {target!r} away: a tree on it alone reaches {each['score']:.4f} of "
        f"{each['measure']}. If it is not known beforehand: dataset.drop=[{as_text(each['column'])}]"
        for each in facts["gives_away"]
    ]
    count = sum(not left_out(cells.kind) for cells in others)
    return lines + ([f"{CHECKED} of {count:,} columns were held against {target!r}"] if count > CHECKED else [])

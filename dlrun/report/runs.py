"""`dlrun runs`: the list of runs. It imports no torch and parses no YAML, to list a thousand runs in a second."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from dlrun.config.schema.schema import COMPONENTS, text_schema
from dlrun.errors import RunError, did_you_mean
from dlrun.plain import flatten, number, numbers, say
from dlrun.report.tables import Table, format_number, print_table
from dlrun.store.find import find_runs
from dlrun.store.reader import StoredRun
from dlrun.store.reading import try_read_text
from dlrun.store.scales import direction

COLUMNS = ("name", "status", "model", "dataset", "metric", "when")
FILTER = re.compile(r"(.*?)(>=|<=|!=|=|>|<)(.*)", re.DOTALL)
OPERATORS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class ListedRun:
    """One run in the list, read from its small files."""

    place: str  # path below the root
    name: str
    state: str
    started: float  # seconds since 1970
    config: dict[str, str]
    summary: dict[str, Any] = field(repr=False)
    kind: str = ""  # of the failure, if any

    @property
    def monitor(self) -> str:
        return str(self.summary.get("monitor") or "")

    @property
    def best(self) -> float | None:
        """The best value of the monitored metric."""
        return numbers(self.summary.get("best")).get(self.monitor)

    @cached_property
    def facts(self) -> dict[str, str]:
        """The values to filter and sort by: columns, configuration keys and summary keys."""
        return {
            **self.config,
            **{key: str(value) for key, value in flatten(self.summary).items()},
            "name": self.name,
            "path": self.place,
            "status": self.state,
            "kind": self.kind,
            "model": self.config.get("model.name", ""),
            "dataset": self.config.get("dataset.name", ""),
            "metric": "" if self.best is None else repr(self.best),
            "when": f"{datetime.fromtimestamp(self.started):%Y-%m-%d %H:%M:%S}",
        }

    def cells(self, keys: Sequence[str] = ()) -> list[str]:
        """The row of the table, with further columns for `keys`."""
        metric = f"{self.monitor} {format_number(self.best)}" if self.best is not None else ""
        facts = self.facts
        first = [facts["name"], facts["status"], facts["model"], facts["dataset"], metric]
        return [*first, *(_shown(_value(self, key) or "") for key in keys), facts["when"][:-3]]


def runs_command(filters: Sequence[str], sort: str | None, limit: int | None, root: Path) -> int:
    """Print the runs below `root`. Returns the exit code.

    Args:
        filters: each is a part of the name, path, status, model or dataset, or compares a column, a configuration key
            (`optimizer.lr=0.1`, `optimizer=ad*`) or a summary key (`test.accuracy>0.9`): by `=` or `!=` with a glob,
            or by `>`, `>=`, `<`, `<=` with a number. All filters must hold; their keys become columns.
        sort: a column, configuration key or summary key, `-KEY` for the reverse order. `metric` puts the best first;
            the default is the newest first.
        limit: the number of runs to show.
        root: the outputs folder.

    Raises `RunError` for a key that no run has.
    """
    entries, today = list_runs(root), text_schema().today
    filters = [word.replace(m[1], today(m[1]), 1) if (m := FILTER.fullmatch(word)) else word for word in filters]
    sort = sort and sort.replace(key := sort.lstrip("-"), today(key), 1)
    keys = [match[1] for word in filters if (match := FILTER.fullmatch(word))] + ([sort.lstrip("-")] if sort else [])
    _check_keys(entries, keys)
    found = sort_runs([entry for entry in entries if all(passes(entry, word) for word in filters)], sort)
    if not found:
        say(f"None of the {len(entries)} runs under {root}/ matches." if entries else f"No runs under {root}/ yet.")
        return 0
    shown = found[:limit]
    notes = [f"{len(shown)} of {len(found)} shown"] if len(shown) < len(found) else []
    more = [key for key in dict.fromkeys(keys) if key not in (*COLUMNS, "path")]
    print_table(Table((*COLUMNS[:-1], *more, COLUMNS[-1]), [entry.cells(more) for entry in shown], notes=notes))
    return 0


def list_runs(root: Path) -> list[ListedRun]:
    """All runs below `root`, damaged ones included."""
    return [_listed_run(path, root) for path in find_runs(root)]


def passes(entry: ListedRun, word: str) -> bool:
    """Whether a run passes one filter (see `runs_command`)."""
    filtered = FILTER.fullmatch(word)
    facts = entry.facts
    if filtered is None:
        words = (facts[name].lower() for name in ("name", "path", "status", "model", "dataset"))
        return any(word.lower() in text for text in words)
    key, sign, pattern = filtered.groups()
    value = _value(entry, key)
    if value is None:
        return False
    if sign in OPERATORS:
        return OPERATORS[sign](number(value), number(pattern))
    return _equals(value, pattern) == (sign == "=")


def _equals(value: str, pattern: str) -> bool:
    """Whether a value matches a glob or is the same number."""
    if _tight(value) == _tight(pattern) or fnmatchcase(_tight(value), _tight(pattern)):  # [64,64] is a glob, too
        return True
    return number(value) == number(pattern)  # 1e-2 is 0.01; nan equals nothing


def sort_runs(entries: Sequence[ListedRun], sort: str | None) -> list[ListedRun]:
    """Sort runs (see `runs_command`): runs without the key come last, equal ones newest first."""
    newest = sorted(entries, key=lambda entry: -entry.started)
    if sort is None:
        return newest
    key, backwards = sort.lstrip("-"), sort.startswith("-")
    if key == "when":
        return newest if backwards else newest[::-1]
    have = [entry for entry in newest if _value(entry, key) not in (None, "")]
    have_not = [entry for entry in newest if _value(entry, key) in (None, "")]
    return sorted(have, key=lambda entry: _order(entry, key), reverse=backwards) + have_not


def _value(entry: ListedRun, key: str) -> str | None:
    return entry.facts.get(key, entry.facts.get(f"{key}.name"))


def _order(entry: ListedRun, key: str) -> tuple[str, float, str]:
    text = _value(entry, key) or ""
    value = number(text)
    if key == "metric":  # grouped by metric, the best of each first
        return entry.monitor, -value if _mode(entry) == "max" else value, ""
    return ("", value, "") if value == value else ("~", 0.0, text)


def _mode(entry: ListedRun) -> str:
    return str(entry.summary.get("mode") or direction(entry.summary, entry.monitor))


def _check_keys(entries: Sequence[ListedRun], keys: Sequence[str]) -> None:
    known = dict.fromkeys(COLUMNS) | {key: None for entry in entries for key in entry.facts}
    for key in keys if entries else ():
        if key not in known and f"{key}.name" not in known:
            hint = did_you_mean(key, known) or f"Columns: {', '.join(COLUMNS)}; any configuration key works, too."
            raise RunError(f"no run has the key {key!r}. {hint}")


def _listed_run(path: Path, root: Path) -> ListedRun:
    run = StoredRun(path)
    values = scan_config(run.file("config.yaml"))
    chosen = {group: {"name": values.get(f"{group}.name", "")} for group in COMPONENTS}
    return ListedRun(
        place=os.path.relpath(path, root),
        name=run.full_name,
        state=run.state,
        started=run.started,
        config={text_schema().today(key, chosen): value for key, value in values.items()},
        summary=run.summary,
        kind=run.failure.kind if run.failure else "",
    )


def scan_config(path: Path) -> dict[str, str]:
    """The dotted keys of a config.yaml that dlrun wrote, with their values as text.

    It reads lines instead of parsing YAML, which is fifty times as fast and suffices for block mappings of scalars and
    lists of scalars.
    """
    found: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    above: list[tuple[int, str]] = []  # (indentation, dotted key) of the mappings that this line is in
    for line in (try_read_text(path) or "").splitlines():
        indent, item, key, value = _parts(line)
        if item and above:
            lists.setdefault(above[-1][1], []).append(value)
        elif key:
            while above and above[-1][0] >= indent:
                above.pop()
            dotted = f"{above[-1][1]}.{key}" if above else key
            if value:
                found[dotted] = value
            else:
                above.append((indent, dotted))
    return found | {key: f"[{', '.join(values)}]" for key, values in lists.items()}


_LINE = re.compile(r"( *)(?:(- )(.*)|([^\s#][^:]*):(?: +(.*))?$)")


def _parts(line: str) -> tuple[int, bool, str, str]:
    """The indentation of a line, whether it is a list item, its key and its value."""
    match = _LINE.match(line)
    if match is None:
        return 0, False, "", ""
    indent, item, element, key, value = match.groups()
    return len(indent), bool(item), key or "", (element if item else value or "").strip("'\" ")


def _shown(text: str) -> str:
    """A value as a cell: fractions with four digits, other text as it is."""
    return format_number(number(text)) if "." in text and math.isfinite(number(text)) else text


def _tight(text: str) -> str:
    return text.replace(" ", "")

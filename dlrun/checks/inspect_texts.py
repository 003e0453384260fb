"""What is in a list of texts with their labels, which `dataset=names` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlrun.checks.findings import Cells, Findings, balance_table, duplicate_counts, repeats
from dlrun.config.overrides.values import as_text
from dlrun.data.csv_files import find_columns
from dlrun.data.name_files import read_csv
from dlrun.data.paths import resolve
from dlrun.data.table.read import DataTable, Reading, read_table
from dlrun.data.table.types import left_out, typed
from dlrun.errors import DataError
from dlrun.plain import Values
from dlrun.report import tables
from dlrun.report.tables import shorten

EXAMPLES = 3
NOT_CSV = (".jsonl", ".ndjson", ".parquet", ".pq")


@dataclass(frozen=True)
class Texts:
    """A file of texts with labels: its columns, and whether its first row is a header, which may have to be told."""

    path: str
    text: Cells
    label: Cells
    header: bool | str
    notes: Sequence[str]


def as_texts(paths: Sequence[str], table: DataTable, keys: Values, target: str | None) -> Texts | None:
    """The texts and labels of a table that has nothing else to learn from; None for other tables.

    They are found by the words of the header (name, country; text, label; ...), or in two columns, of which the first
    nearly always differs and the second does not. A first row whose second cell is a label of other rows is no header.
    """
    named = find_columns([*table.names])
    columns = [column for column in table.columns if column.numbers is None]
    if len(paths) > 1 or len(columns) != len(table.names) or resolve(paths[0]).suffix.removesuffix(".gz") in NOT_CSV:
        return None
    if named.header is None:
        if len(columns) != 2 or keys["header"] is False:
            return None
        if columns[0].name and columns[1].name in columns[1].texts:
            table = read_table(paths[0], Reading(False, keys["delimiter"], keys["encoding"]))
            columns = table.columns
    try:
        kinds = [typed(column) for column in columns]
    except DataError:  # a date that can be read both ways: a column of a table
        return None
    text, label = kinds[named.text], kinds[named.label]
    others = [kind for kind in kinds if kind not in (text, label) and not left_out(kind)]
    words = text.type in ("text", "id") and label.type in ("category", "boolean")
    spelled = named.header is not None and text.type == "category" and label.type == "category"
    if others or not (words or spelled) or target not in (None, label.name):
        return None
    header = "auto" if named.header is not None or table.names[0] == "column 1" else True
    cells = Cells(columns[named.text], replace(text, type="text"))
    return Texts(paths[0], cells, Cells(columns[named.label], label), header, table.notes)


def inspect_texts(texts: Texts) -> Findings:
    """The findings on texts and labels."""
    counts, labels = texts.text.counts, texts.label.counts
    lengths = list(map(len, counts))
    exact, normal = duplicate_counts([texts.text, texts.label])
    letters = sorted(set().union(*counts))
    rows = texts.text.column.rows
    facts: Values = {
        "kind": "texts", "paths": [texts.path], "rows": rows, "text": texts.text.name, "label": texts.label.name,
        "distinct": len(counts), "shortest": min(lengths, default=0), "longest": max(lengths, default=0),
        "characters": len(letters), "examples": list(counts)[:EXAMPLES], "classes": labels,
        "duplicates": {"exact": exact, "normal_form": normal},
    }  # fmt: skip
    examples = ", ".join(shorten(text, 24) for text in facts["examples"])
    row = (
        texts.text.name,
        f"{len(counts):,}",
        f"{facts['shortest']} to {facts['longest']}",
        str(len(letters)),
        examples,
    )
    shown = [
        tables.Table(["texts", "distinct", "length", "characters", "examples"], [row], spare=["examples"]),
        balance_table(f"{texts.label.name} (classification)", labels),
    ]
    remarks = repeats(exact, normal, rows, "case, blanks and what is no letter or digit")
    command = ["model=gru", "dataset=names", f"dataset.train_path={as_text(texts.path)}"]
    command += ["dataset.header=true"] if texts.header is True else []
    try:
        read_csv(resolve(texts.path), texts.header)
    except DataError as error:  # what training would say
        remarks.append(f"to be mended before training: {error}")
        command = []
    if len(labels) < 2:
        remarks.append(f"nothing can be learned from it: {texts.label.name!r} has one value")
        command = []
    return Findings(facts, texts.notes, shown, remarks, command)

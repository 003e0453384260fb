"""out_of_fold.csv of a sweep over folds: each row as it is predicted by the run that did not train on it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrun.report.comparison import Comparison
from dlrun.report.jobs import FOLD, REPEATS
from dlrun.report.tables import format_value
from dlrun.store.reading import try_read_text
from dlrun.store.rundir import TEST_PREDICTIONS

OUT_OF_FOLD = "out_of_fold.csv"


def out_of_fold(comparison: Comparison) -> str:
    """A line for each row and seed of each setting; empty if no run is of a fold or has predictions."""
    settings = [key for key in comparison.keys if key not in REPEATS]
    lines = list(_predictions(comparison, settings))
    names = dict.fromkeys(name for line in lines for name in line)
    first = [*settings, "row", "fold", "seed"]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*first, *(name for name in names if name not in first)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue() if lines else ""


def _predictions(comparison: Comparison, settings: Sequence[str]) -> Iterator[dict[str, str]]:
    """The lines of all runs: setting by setting and seed by seed, in the order of the rows."""
    order = {id(job): number for number, job in enumerate(comparison.jobs)}
    for group in sorted(comparison.groups, key=lambda one: min(order[id(row.source)] for row in one.rows)):
        seeds = dict.fromkeys(row.seed for row in group.counted)
        for seed in seeds:
            lines = []
            for row in group.counted:
                if row.fold is None or row.seed != seed:
                    continue
                own = {key: format_value(row.source.setting(key)) for key in (*settings, FOLD, "seed")}
                own["fold"] = own.pop(FOLD)
                lines += [own | line for line in _stored(row.source.run.file(TEST_PREDICTIONS))]
            yield from sorted(lines, key=lambda line: (len(line["row"]), line["row"]))


def _stored(path: Path) -> list[dict[str, str]]:
    """The predictions of a run; of a damaged file, those lines that are whole."""
    try:
        lines = list(csv.DictReader(io.StringIO(try_read_text(path) or "", newline="")))
    except csv.Error:
        return []
    whole = [line for line in lines if all(isinstance(text, str) for pair in line.items() for text in pair)]
    return [line for line in whole if line.get("row", "").isdecimal()]

"""Predictions as a person reads them on the screen, and as programs do: CSV and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dlrun.errors import ConfigError, Problem
from dlrun.inference.predict import Answer
from dlrun.plain import Values, four_digits, json_line, one_line

WIDEST = 40  # of an input on the screen
FORMATS = (".csv", ".jsonl")


def check_format(output: str | None) -> None:
    """Raise `ConfigError` for a file that ends otherwise than in .csv or .jsonl."""
    if output is not None and not output.lower().endswith((*FORMATS, ".json")):
        raise ConfigError(Problem("--output", f"{output}: ends in none of {', '.join(FORMATS)}."))


def as_file(answers: Sequence[Answer], output: str) -> str:
    """The text of the file that is to be written."""
    return as_csv(answers) if output.lower().endswith(".csv") else as_json_lines(answers)


def as_json_lines(answers: Sequence[Answer]) -> str:
    """One object a row: `input`, and the fields of its answer, or `error`."""
    rows = [
        {"input": answer.input, **answer.copied, **(answer.fields or {"error": answer.error})} for answer in answers
    ]
    return "".join(json_line(row) + "\n" for row in rows)


def as_csv(answers: Sequence[Answer]) -> str:
    """One line a row, in the order of the input; of classes the best ones, each with its probability."""
    rows = as_rows(answers)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()


def as_rows(answers: Sequence[Answer]) -> list[Values]:
    """The cells of each answer by the name of their column; `error` where a row could not be used."""
    rows = [{"input": answer.input, **answer.copied, **flat(answer.fields)} for answer in answers]
    if any(answer.error for answer in answers):
        order = dict.fromkeys(name for row in rows for name in row)
        rows = [dict.fromkeys(order, "") | row | {"error": a.error} for row, a in zip(rows, answers, strict=True)]
    return rows


def flat(fields: Values) -> Values:
    """Fields as the cells of a line: lists joined, the further classes as `prediction_2`, `probability_2`, ..."""
    cells: Values = {}
    for name, value in fields.items():
        if name == "predictions":
            cells["prediction"] = join_labels(value)
        elif name == "probabilities" and "prediction" in fields:
            others = [pair for pair in value.items() if pair[0] != fields["prediction"]]
            for place, (label, chance) in enumerate(others, start=2):
                cells |= {f"prediction_{place}": label, f"probability_{place}": chance}
        elif name == "probabilities":
            cells["probability"] = " ".join(f"{chance:.6g}" for chance in value.values())
        else:
            cells[name] = value
    return cells


def join_labels(labels: Sequence[object]) -> str:
    """Letters as a word, anything else with blanks between."""
    texts = [f"{label:.6g}" if isinstance(label, float) else str(label) for label in labels]
    return ("" if all(len(text) == 1 for text in texts) else " ").join(texts)


def as_lines(answers: Sequence[Answer]) -> list[str]:
    """A line a row for the screen, in columns."""
    rows = [[short_input(answer.input), *answer.copied.values(), *words(answer)] for answer in answers]
    measured = [row[:-1] if answer.error else row for row, answer in zip(rows, answers, strict=True)]
    longest = max(map(len, rows), default=0)
    widths = [max((len(row[i]) for row in measured if len(row) > i), default=0) for i in range(longest)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def words(answer: Answer) -> list[str]:
    """An answer in words: the prediction, how probable it is, what else it may be."""
    fields = answer.fields
    if answer.error:
        return [f"not predicted: {one_line(answer.error)}"]
    if "predictions" in fields:
        chances = list(fields.get("probabilities", {}).values())
        told = [join_labels(fields["predictions"]) or "none", " ".join(f"{chance:.0%}" for chance in chances)]
        return [
            word for word in [*told, *([f"error {four_digits(fields['error'])}"] if "error" in fields else [])] if word
        ]
    if "probability" in fields:
        others = [(k, v) for k, v in fields["probabilities"].items() if k != fields["prediction"]]
        return [
            one_line(str(fields["prediction"])),
            f"{fields['probability']:.1%}",
            ", ".join(f"{one_line(label)} {chance:.1%}" for label, chance in others),
        ]
    return [
        ("" if name == "prediction" else f"{name} ") + four_digits(value) if isinstance(value, float) else str(value)
        for name, value in fields.items()
    ]


def short_input(text: str) -> str:
    """An input on one line, its end kept where it is a long path."""
    text = one_line(text)
    if len(text) <= WIDEST:
        return text
    return f"...{text[-WIDEST + 3 :]}" if Path(text).parent.parts else f"{text[: WIDEST - 3]}..."

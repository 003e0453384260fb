"""Pages and model cards out of the templates in `templates/`: whatever a run's files hold is shown, never obeyed.

A page is one file without a request to anywhere: style, script and figures are in it, and its content security policy
allows this one script, by its hash, and images in `data:` addresses.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dlrun.bounded import read_bytes
from dlrun.package import PACKAGE
from dlrun.plain import number, printable
from dlrun.report.tables import LONGEST_CELL, Table, shorten

if TYPE_CHECKING:
    from jinja2 import Environment

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!~$&])")  # characters that Markdown, or HTML in it, gives a meaning


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    `value` is the number by which it is sorted, `whole` its tooltip, `href` where it leads to, relative to the page,
    `kind` a class of page.css; a `code` is a command that can be copied.
    """

    text: str
    value: float | None = None
    whole: str = ""
    href: str = ""
    kind: str = ""
    code: bool = False


def text_cell(text: str, whole: str = "", kind: str = "") -> Cell:
    """A cell of text. A long text is shortened; its tooltip has the whole."""
    shown = text if len(text) <= LONGEST_CELL else shorten(text)
    return Cell(shown, whole="" if shown == (whole or text) else whole or text, kind=kind)


def number_cell(text: str, value: float | None = None, whole: str = "") -> Cell:
    """A cell that is sorted by `value`, or by the number with which the text begins, if it does."""
    found = number(text.split(" ", 1)[0].rstrip("%")) if value is None else value
    return Cell(text, found) if found == found else text_cell(text, whole)


def link(path: Path, page: Path) -> str:
    """The address of a file or folder in a page that lies in the folder `page`."""
    return quote(os.path.relpath(path, page)) + ("/" if path.is_dir() else "")


def cells(table: Table) -> list[list[Cell]]:
    """The cells of a table of the screen."""
    return [[number_cell(text) for text in row] for row in table.rows]


def picture(path: Path) -> str:
    """A PNG file as the address of an image; empty if there is none."""
    try:
        return "data:image/png;base64," + base64.b64encode(read_bytes(path)).decode()
    except OSError:
        return ""


def render(template: str, **values: object) -> str:
    """The text of a template in `templates/`."""
    return environment().get_template(template).render(values)


@cache
def environment() -> Environment:
    """The templates: HTML is escaped by its rules, Markdown by its own; a name that is not given is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context
    from jinja2.nodes import EvalContext
    from markupsafe import Markup

    @pass_eval_context
    def shown(context: EvalContext, value: object) -> object:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return printable(value) if context.autoescape else Markup(markdown(value))

    env = Environment(
        loader=FileSystemLoader(PACKAGE / "report" / "templates"), undefined=StrictUndefined, finalize=shown,
        autoescape=lambda name: not (name or "").endswith(".md.j2"), trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )  # fmt: skip
    style, script = ((PACKAGE / "report" / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    env.globals |= {"style": Markup(style), "script": Markup(script), "script_hash": known}
    env.filters |= {"columns": numeric_columns, "cells": cells}
    env.filters |= {
        "fenced": lambda text, language: Markup(fenced(text, language)),
        "markdown_table": lambda rows, headers: Markup(markdown_table(rows, headers)),
    }
    return env


def numeric_columns(rows: Sequence[Sequence[Cell]], count: int) -> list[bool]:
    """Which of `count` columns hold a number."""
    return [any(row[i].value is not None for row in rows) for i in range(count)]


def markdown(text: str) -> str:
    """A text on one line, as Markdown shows it unchanged."""
    return MARKDOWN.sub(r"\\\1", printable(" ".join(text.split())))


def markdown_table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    """A table in Markdown."""
    lines = [
        [markdown(text) for text in headers],
        ["---"] * len(headers),
        *([markdown(text) for text in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fenced(text: str, language: str) -> str:
    """A block of code in Markdown, with a fence that the text does not hold."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def join_texts(texts: Iterable[str], between: str = " · ") -> str:
    """The texts that are not empty, on one line."""
    return between.join(text for text in texts if text)

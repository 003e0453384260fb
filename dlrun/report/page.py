"""HTML of report.html, a self-contained page that is readable without JavaScript and sortable with it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from dlrun.bounded import read_bytes
from dlrun.package import PACKAGE
from dlrun.report.tables import shorten

NUMBER_CLASS = 'class="number"'


def page(title: str, facts: str, sections: Sequence[str]) -> str:
    """The whole document. `title` and `facts` are text; `sections` are HTML."""
    style, script = ((PACKAGE / "report" / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>\n{style}</style>\n</head>\n'
        f'<body>\n<header><h1>{escape(title)}</h1>\n<p class="facts">{escape(facts)}</p></header>\n<main>\n'
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A section with a heading; empty if the body, which is HTML, is empty."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, sortable: bool = True) -> str:
    """A table. Headers are text, cells are HTML as `cell` returns it."""
    numeric = [any(NUMBER_CLASS in row[i] for row in rows) for i in range(len(headers))]
    heads = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{escape(header)}</th>'
        for header, right in zip(headers, numeric, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table{kind}>'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def cell(text: str, value: float | None = None, *, kind: str = "", whole: str = "") -> str:
    """A cell of text, with the number by which it is sorted, if any.

    A long text is shortened; its tooltip has the `whole` text.
    """
    if value is not None:
        return f'<td {NUMBER_CLASS} data-value="{value!r}">{escape(text)}</td>'
    shown, whole = shorten(text), whole or text
    named = f' class="{escape(kind)}"' if kind else ""
    title = f' title="{escape(whole)}"' if shown != whole else ""
    return f"<td{named}{title}>{escape(shown)}</td>"


def code_cell(text: str) -> str:
    """A cell with a command and a button that copies it."""
    return f'<td class="command">{_code(text)}</td>' if text else "<td></td>"


def command(text: str) -> str:
    """A command on a line of its own, with a button that copies it."""
    return f'<div class="code"><pre>{_code(text)}</pre></div>' if text.strip() else ""


def _code(text: str) -> str:
    return f'<code class="command">{escape(text)}</code>'


def link_cell(text: str, place: str) -> str:
    """A cell with a link to a file or folder, given by its path relative to the page."""
    return f'<td class="link"><a href="{escape(quote(place))}">{escape(text)}</a></td>'


def pre(text: str) -> str:
    """Preformatted text; empty if the text is."""
    return f"<pre>{escape(text)}</pre>" if text.strip() else ""


def details(title: str, body: str, *, opened: bool = False) -> str:
    """A section that can be unfolded: `title` is text, `body` is HTML."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def image(path: Path, alternative: str) -> str:
    """An embedded PNG file; empty if there is no file."""
    try:
        data = base64.b64encode(read_bytes(path)).decode()
    except OSError:
        return ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alternative)}"></figure>'

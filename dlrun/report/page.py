"""HTML of report.html, a self-contained page that is readable without JavaScript and sortable with it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from dlrun.bounded import read_bytes
from dlrun.report.tables import clipped

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #5f5f5f; --line: #d8d8d8; --back: #fff;
  --tint: #f5f7fa; --good: #00694d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --faint: #a8a8a8; --line: #444;
  --back: #181a1b; --tint: #24282b; --good: #5fd3ab; --bad: #ff9b93; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 0 auto;
  max-width: 76rem; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.facts { color: var(--faint); margin: .2rem 0 1rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { background: var(--tint); white-space: nowrap; } td.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } tbody tr:hover { background: var(--tint); }
thead th.number { text-align: right; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; } td code, details code { overflow-wrap: anywhere; }
td.command { min-width: 15rem; } td.link { overflow-wrap: anywhere; min-width: 7rem; } a { color: inherit; }
button.copy { font: .75rem/1.4 system-ui, sans-serif; color: var(--faint); background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 4px; padding: 0 .4rem; margin-left: .4rem; }
button.copy:hover { color: var(--ink); } .code { position: relative; }
.code button.copy { position: absolute; top: .5rem; right: .5rem; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; border-radius: 4px; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.finished { color: var(--good); } .failed, .dead { color: var(--bad); font-weight: 600; }
summary { cursor: pointer; padding: .2rem 0; } ul { padding-left: 1.2rem; }
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0];
      Array.from(body.rows).sort(function (a, b) {
        return compare(key(a.cells[column]), key(b.cells[column]), down);
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
document.querySelectorAll("code.command").forEach(function (code) {
  var button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.setAttribute("aria-label", "Copy the command");
  button.addEventListener("click", function () {
    function done() {
      button.textContent = "copied";
      setTimeout(function () { button.textContent = "copy"; }, 1500);
    }
    function by_hand() {
      getSelection().selectAllChildren(code);
      if (document.execCommand("copy")) done();
    }
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, by_hand);
    else by_hand();
  });
  code.after(button);
});
function key(cell) { return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim(); }
function compare(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  var order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  return down ? -order : order;
}
"""

NUMBER_CLASS = 'class="number"'


def page(title: str, facts: str, sections: Sequence[str]) -> str:
    """The whole document. `title` and `facts` are text; `sections` are HTML."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n<header><h1>{escape(title)}</h1>\n<p class="facts">{escape(facts)}</p></header>\n<main>\n'
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
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
    shown, whole = clipped(text), whole or text
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

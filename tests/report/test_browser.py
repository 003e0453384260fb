"""The pages in a real browser: quiet, without a request, as wide as the screen; they sort, copy, unfold and point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlrun.report.confusion import _as_csv
from dlrun.report.html import write_report
from dlrun.report.page import Cell, environment, number_cell, text_cell
from tests.helpers.browser import CHROMIUM, Browser, browsing
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
WIDE, NARROW = 1280, 420
LONG_NAMES = [f"a class with a long name, number {number}" for number in range(30)]
TABLE = """{% extends "base.html.j2" %}{% import "macros.html.j2" as m %}
{% block main %}{{ m.table(headers, rows, "caption") }}{% endblock %}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests: it takes a second to start."""
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with long names and texts in every place."""
    import numpy as np

    words = [f"optimizer.key_{n}=0.123456" for n in range(12)]
    run = make_run(tmp_path_factory.mktemp("run") / "x", make_config(), overrides=[*words, "a=<b>&c"], epochs=30)
    counts = np.diag(np.arange(100, 130)) + np.eye(30, k=1, dtype=int) * 7
    (run / "confusion.csv").write_text(_as_csv(counts, LONG_NAMES))
    row = {"row": 3, "input": ["long " * 30] * 8, "true": LONG_NAMES[0], "predicted": LONG_NAMES[1], "probability": 0.9}
    found = {"part": "test", "rows": 9, "wrong": 1, "columns": [f"feature_{i}" for i in range(8)]}
    (run / "mistakes.json").write_text(json.dumps({**found, "worst": [row], "samples": [row]}))
    summary = json.loads((run / "summary.json").read_text()) | {"remarks": ["W" * 300]}
    (run / "summary.json").write_text(json.dumps(summary))
    return write_report(run)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep in which a job failed."""
    return write_report(make_sweep(tmp_path_factory.mktemp("sweep") / "lrs", ("sgd", "adam"), (0.1, 0.01), 1))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("page", ["run", "sweep"])
def test_a_page_is_quiet_and_fits_the_screen(
    browser: Browser, request: pytest.FixtureRequest, page: str, width: int
) -> None:
    tab = browser.open(request.getfixturevalue(page), width, dark=width == NARROW)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.body.getBoundingClientRect().width") <= width
    assert tab.evaluate("Array.from(document.images).every(image => image.naturalWidth > 0)")
    assert not tab.messages()
    assert not tab.requests()


def test_the_pairs_are_read_without_scrolling_sideways(browser: Browser, tmp_path: Path) -> None:
    tab = browser.open(write_report(make_sweep(tmp_path / "s", ("sgd", "adam"), (0.1, 0.01), 3)), NARROW)
    ends = "Array.from(document.querySelectorAll('.stacked td'), cell => cell.getBoundingClientRect().right)"
    assert 300 < tab.evaluate(f"Math.max(...{ends})") <= NARROW
    first = "document.querySelector('.stacked td')"
    assert tab.evaluate(f"getComputedStyle({first}, '::before').content") == '"option"'
    assert tab.evaluate(f"{first}.innerText").strip() == "adam lr=0.01"
    assert tab.evaluate("document.documentElement.scrollWidth") == NARROW


def test_what_a_page_may_not_do_is_refused_and_seen(browser: Browser, tmp_path: Path) -> None:
    """A script, a request and a message that get into a page: the checks above would see them."""
    bad = '<script>console.log("ran")</script><img src="http://127.0.0.1:9/x.png">'
    text = environment().get_template("base.html.j2").render(title="t", facts="")
    (tmp_path / "page.html").write_text(text.replace("<main>", f"<main>{bad}"))
    tab = browser.open(tmp_path / "page.html")
    told = json.dumps(tab.messages())
    assert "Content Security Policy" in told
    assert not tab.seen("Runtime.consoleAPICalled"), "the script did not run"
    tab.evaluate("console.log(1)")
    assert len(tab.seen("Runtime.consoleAPICalled")) == 1


def test_a_table_is_sorted_by_its_headings(browser: Browser, tmp_path: Path) -> None:
    values = ["10", "", "9", "1e-3", "100"]
    rows = [[number_cell(text) if text else text_cell("")] for text in values]
    page = environment().from_string(TABLE).render(title="t", facts="", headers=["value"], rows=rows)
    (tmp_path / "page.html").write_text(page)
    tab = browser.open(tmp_path / "page.html")
    shown = "Array.from(document.querySelectorAll('tbody td'), cell => cell.textContent)"
    for expected, way in (
        (["1e-3", "9", "10", "100", ""], "ascending"), (["100", "10", "9", "1e-3", ""], "descending"),
    ):  # fmt: skip
        tab.evaluate("document.querySelector('th button').click()")
        assert tab.evaluate(shown) == expected
        assert tab.evaluate("document.querySelector('th').getAttribute('aria-sort')") == way


def test_a_command_is_copied_whole(browser: Browser, tmp_path: Path) -> None:
    words = "dlrun model=mlp " + " ".join(f"optimizer.key_{n}=0.123456" for n in range(12)) + " 'a=<b>&c'"
    rows = [[*(Cell("0.1234", 0.1234) for _ in range(7)), Cell(words, code=True)]]
    headers = [f"metric_{n}" for n in range(8)]
    page = environment().from_string(TABLE).render(title="t", facts="", headers=headers, rows=rows)
    (tmp_path / "page.html").write_text(page)
    tab = browser.open(tmp_path / "page.html", 1300)
    tab.evaluate("""document.execCommand = () => { window.copied = String(getSelection()); return true; };
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        document.querySelector("button.copy").click()""")
    assert tab.evaluate("window.copied") == words
    assert tab.evaluate("document.querySelector('button.copy').textContent") == "copied"
    assert tab.evaluate("(s => s.scrollWidth <= s.clientWidth)(document.querySelector('.scroll'))"), "there is room"


def test_curves_point_at_values_and_have_switches(browser: Browser, run: Path) -> None:
    tab = browser.open(run)
    place = tab.evaluate("(({ left, top, width }) => [left + width * (58 + 348 * 17 / 29) / 420, top + 50])"
                         "(document.querySelector('svg').getBoundingClientRect())")  # fmt: skip
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    told = tab.evaluate("document.querySelector('.values').innerText").split("\n")
    assert [line.rsplit(" ", 1)[0] for line in told] == ["epoch", "train", "validation"]
    assert told[0] == "epoch 18"
    rows = (run.parent / "metrics.csv").read_text().splitlines()
    at = dict(zip(rows[0].split(","), rows[18].split(","), strict=True))
    assert told[1] == f"train {float(at['train_loss']):.4f}"
    tab.evaluate("document.querySelector('svg').focus()")
    for key, expected in (("ArrowRight", "epoch 19"), ("ArrowLeft", "epoch 18")):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        assert tab.evaluate("document.querySelector('.values b').innerText") == expected
    lines = "Array.from(document.querySelector('svg').querySelectorAll('polyline'))"
    kinds = f"{lines}.filter(e => e.getBoundingClientRect().width).map(e => e.parentNode)"
    kinds += ".map(e => e.classList[1] + ' ' + e.parentNode.className.baseVal)"
    assert tab.evaluate(kinds) == ["train linear", "val linear"]
    tab.evaluate("document.querySelector('.use-log').click()")
    tab.evaluate("document.querySelector('.of-train').click()")
    assert tab.evaluate(kinds) == ["val log"]


def test_a_page_is_read_without_javascript(browser: Browser, run: Path) -> None:
    tab = browser.open(run, script=False)
    assert tab.call("DOM.getDocument", depth=-1)["root"]["childNodeCount"]
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    names = [node.get("name", {}).get("value", "") for node in tree if not node.get("ignored")]
    assert any(name.startswith("loss by epoch. validation") for name in names)
    assert any("against 0.1000 of the baseline" in name for name in names)


def test_a_link_unfolds_the_curves_of_its_run(browser: Browser, sweep: Path) -> None:
    tab = browser.open(sweep)
    shown = "document.querySelector('#curves-1 polyline').checkVisibility()"
    assert not tab.evaluate(shown)
    tab.evaluate("document.querySelector('a[href=\"#curves-1\"]').click()")
    tab.evaluate("new Promise(done => setTimeout(done, 50))")
    assert tab.evaluate(shown)

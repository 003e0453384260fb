"""report.html: what it holds, that it is self-contained and escaped, and that a real browser sorts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dlrun.errors import RunError
from dlrun.report import html, page
from dlrun.report.compare import write_results
from dlrun.report.grouped import grouped_table
from dlrun.report.html import report_command, write_report
from dlrun.report.jobs import SweepEntry
from dlrun.store.failure import Failure
from dlrun.store.reader import StoredRun
from tests.helpers.deadline import deadline
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep, to_yaml

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000"),
]
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags in order, text by tag, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        """The texts directly in tags of that name."""
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep in which sgd diverged at 0.1 and one job crashed in a hostile way."""
    folder = make_sweep(tmp_path / "lrs", ("sgd", "adam"), (0.1, 0.01), 1)
    bad = make_run(
        folder / "jobs" / "bad", make_config(seed=7), state="failed", error="</pre><script>alert(1)</script>"
    )
    (bad / "train.log").write_text(
        "epoch 1\nTraceback (most recent call last):\n  File <net.py>\nValueError: <b>no</b>\n"
    )
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take the time; here they are a few bytes."""
    from dlrun.report import style

    def save(figure: Any, path: Path) -> Path:
        path.write_bytes(b"\x89PNG")
        return path

    monkeypatch.setattr(style, "save", save)


def test_a_sweeps_report_is_one_self_contained_file(sweep: Path) -> None:
    path = write_report(sweep)
    text = path.read_text()
    shown = Page(text)
    assert path == sweep / "report.html"
    sources = [attrs["src"] for tag, attrs in shown.tags if "src" in attrs]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,iVBOR")
    links = [attrs["href"] for tag, attrs in shown.tags if tag == "a"]
    assert len(links) == 5
    assert all((sweep / link).is_dir() for link in links), "links lead to the runs, from where the page is"
    assert not [tag for tag, attrs in shown.tags if tag == "link" or ("href" in attrs and tag != "a")]
    assert not re.search(r"https?://|url\(|@import", text)


@pytest.mark.usefixtures("no_figures")
def test_it_shows_groups_jobs_remarks_failures_and_commands(sweep: Path) -> None:
    shown = Page(write_report(sweep).read_text())
    assert shown.of("h2") == ["Best first", "To bear in mind", "Figures", "Failures", "Every run"]
    assert "dlrun optimizer=adam optimizer.lr=0.01 seed=0" in shown.of("code")
    assert shown.of("p")[0].startswith("5 runs · 3 finished · 2 failed")
    assert any("1 of 5 diverged" in text for text in shown.of("li"))
    assert any("training diverged" in text for text in shown.of("summary"))
    assert any(text.endswith("ValueError: <b>no</b>") for text in shown.of("pre"))
    jobs = [attrs for tag, attrs in shown.tags if tag == "table"]
    assert [attrs.get("class") for attrs in jobs] == ["sortable", "sortable"]


@pytest.mark.usefixtures("no_figures")
def test_what_a_run_says_cannot_become_html(sweep: Path) -> None:
    text = write_report(sweep).read_text()
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<b>no" not in text
    assert len([tag for tag, _ in Page(text).tags if tag == "script"]) == 1


@pytest.mark.usefixtures("no_figures")
def test_very_long_values_are_shortened_and_whole_in_a_tooltip(tmp_path: Path) -> None:
    values = [f"<{letter * 200}{'y' * 200}>" for letter in "ab"]
    jobs = [make_run(tmp_path / "s/jobs" / str(n), make_config(model__opts=v)) for n, v in enumerate(values)]
    lost = SweepEntry(tmp_path / "s/jobs/lost", {"model.opts": "c" * 400}, "failed", Failure("bug", "no luck"))
    rows = [SweepEntry(job, {"model.opts": value}) for job, value in zip(jobs, values, strict=True)]
    comparison = write_results(tmp_path / "s", [*rows, lost])
    assert max(map(len, str(grouped_table(comparison)).splitlines())) < 150
    assert max(map(len, [*comparison.differences(), *map(comparison.label, comparison.groups)])) < 250
    shown = Page(write_report(tmp_path / "s", comparison).read_text())
    titles = [attrs["title"] for tag, attrs in shown.tags if tag == "td" and "title" in attrs]
    assert sorted(titles) == sorted([*values, "c" * 400] * 2)
    assert max(len(text) for text in [*shown.of("td"), *shown.of("summary")]) < 100


@pytest.mark.usefixtures("no_figures")
def test_it_can_be_read_without_seeing(sweep: Path) -> None:
    shown = Page(write_report(sweep).read_text())
    kinds = dict.fromkeys(tag for tag, _ in shown.tags)
    assert {"header", "main", "caption", "h1"} <= set(kinds)
    assert next(attrs for tag, attrs in shown.tags if tag == "html") == {"lang": "en"}
    assert all(attrs["scope"] == "col" for tag, attrs in shown.tags if tag == "th")
    (alternative,) = [attrs["alt"] for tag, attrs in shown.tags if tag == "img"]
    assert alternative.startswith("Comparison by val_loss, best first. adam lr=0.01")


@pytest.mark.usefixtures("no_figures")
def test_a_job_that_never_began_and_one_that_left_no_word(sweep: Path) -> None:
    failure = Failure("crash", "killed by signal 11 (segmentation fault)")
    killed = SweepEntry(sweep / "jobs" / "killed", {"seed": 8}, "failed", failure)
    comparison = write_results(sweep, [killed, SweepEntry(sweep / "jobs" / "adam-0.1-0", {"seed": 0})])
    text = write_report(sweep, comparison).read_text()
    assert "seed=8: killed by signal 11 (segmentation fault)" in text
    again = write_report(sweep).read_text()  # from results.csv
    assert "seed=8: killed by signal 11 (segmentation fault)" in again


@pytest.mark.usefixtures("no_figures")
def test_the_report_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", overrides=["model=mlp", "dataset.target=price (usd)", "run.dir=/x", "+seed=1"])
    (run / "confusion.png").write_bytes(b"\x89PNG confusion")
    summary = json.loads((run / "summary.json").read_text()) | {"remarks": ["the outputs are constant"]}
    (run / "summary.json").write_text(json.dumps(summary))
    assert report_command(run) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    shown = Page((run / "report.html").read_text())
    alternatives = [attrs["alt"] for tag, attrs in shown.tags if tag == "img"]
    assert alternatives == [html.FIGURES["curves.png"], html.FIGURES["confusion.png"]]
    assert "dlrun model=mlp 'dataset.target=price (usd)' +seed=1" in shown.of("code")
    assert "the outputs are constant" in shown.of("li")
    assert any("name: mlp" in text for text in shown.of("pre"))
    assert {"test of best", "majority class"} <= {*shown.of("th"), *shown.of("td")}


@pytest.mark.usefixtures("no_figures")
def test_the_report_of_a_failed_run_begins_with_the_failure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", state="failed", error="boom")
    status = json.loads((run / "status.json").read_text()) | {"traceback": "Traceback: line <7>\n"}
    (run / "status.json").write_text(json.dumps(status))
    shown = Page(write_report(run).read_text())
    assert shown.of("h2")[0] == "What went wrong"
    assert shown.of("pre")[:2] == ["boom", "Traceback: line <7>"]


@pytest.mark.usefixtures("no_figures")
def test_damaged_runs_have_reports(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_bytes(b"\xff{")
    (run / "config.yaml").write_text(to_yaml(make_config()))
    (run / "train.log").write_bytes(b"\xff\xfe broken")
    assert Page(write_report(run).read_text()).of("h1") == ["mlp on digits"]


CRASH = """epoch 1/3
going away
Fatal Python error: Segmentation fault

Current thread 0x00007fb8287dcb80 (most recent call first):
  File "net.py", line 12 in forward
  File "fused.py", line 71 in __call__

Extension modules: numpy, torch (total: 2)
"""


@pytest.mark.usefixtures("no_figures")
def test_a_crash_shows_the_stack_that_its_process_left(tmp_path: Path) -> None:
    """It is in the sweep's own log of the job: a process that dies writes nothing into its directory."""
    run = make_run(tmp_path / "jobs" / "a", state="failed", error="crashed")
    (run / "train.log").write_text("dlrun  a\n  model  mlp\n")
    (tmp_path / "sweep.yaml").touch()
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "a.log").write_text(CRASH)
    for report in (write_report(tmp_path), write_report(run)):
        (stack,) = [text for text in Page(report.read_text()).of("pre") if "net.py" in text]
        assert stack.splitlines()[0] == "Fatal Python error: Segmentation fault"
        assert "Extension modules" not in stack
    (tmp_path / ".state" / "a.log").write_text("epoch 1/3\ngoing away\n")
    assert "going away" in write_report(tmp_path).read_text()


@pytest.mark.usefixtures("no_figures")
def test_the_newer_word_on_a_failure_is_told(tmp_path: Path) -> None:
    """A job that raised, and was refused when it was tried again: its directory knows of the first alone."""
    run = make_run(tmp_path / "jobs" / "a", state="failed", error="first words\nboom")
    status = json.loads((run / "status.json").read_text()) | {"traceback": "Traceback of boom"}
    (run / "status.json").write_text(json.dumps(status))
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "a.log").write_text("Error: there is no plug-in\n")
    job = SweepEntry(run, {}, "failed", Failure("input", "there is no plug-in"))
    write_report(tmp_path, write_results(tmp_path, [job]))
    for text in ((tmp_path / "report.html").read_text(), write_report(tmp_path).read_text()):
        assert "there is no plug-in" in text, "as the sweep says, and as results.csv says for it"
        assert "boom" not in text
    later = (tmp_path / "results.csv").stat().st_mtime + 10
    os.utime(run / "status.json", (later, later))
    assert "boom" in write_report(tmp_path).read_text(), "the run was gone on with since, by itself"
    same = write_results(tmp_path, [SweepEntry(run, {}, "failed", Failure("crash", "boom"))])
    assert same.jobs[0].failure == StoredRun(run).failure, "the longer of two that agree"
    run.joinpath("status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    assert write_results(tmp_path, [job]).jobs[0].status == "failed"


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run"):
        write_report(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        write_report(tmp_path / "nowhere")


def browse(path: Path, profile: Path, *flags: str) -> str:
    """What Chromium makes of a file."""
    command = [CHROMIUM or "", *FLAGS, f"--user-data-dir={profile}", *flags, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=deadline(120), check=True).stdout


def column(dom: str, number: int) -> list[str]:
    """The texts of one column of the last table in a DOM."""
    body = dom.rsplit("<tbody>", 1)[1].split("</tbody>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>") if "<td" in row]
    return [row[number] for row in rows]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_sorts_the_table(tmp_path: Path) -> None:
    values = ["10", "", "9", "1e-3", "100"]
    rows = [[page.cell(text, float(text)) if text else page.cell("")] for text in values]
    text = page.page("t", "", [page.table(["value"], rows, "numbers")])
    clicks = "<script>var b = document.querySelector('th button'); b.click();{}</script></body>"
    for again, expected in (("", ["1e-3", "9", "10", "100", ""]), ("b.click();", ["100", "10", "9", "1e-3", ""])):
        (tmp_path / "page.html").write_text(text.replace("</body>", clicks.replace("{}", again)))
        dom = browse(tmp_path / "page.html", tmp_path / "profile", "--dump-dom")
        assert column(dom, 0) == expected
        assert f'aria-sort="{"descending" if again else "ascending"}"' in dom


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_the_report_without_errors(sweep: Path, tmp_path: Path) -> None:
    path = write_report(sweep)
    probe = "<script>document.title = document.images[0].naturalWidth + ' ' + document.images.length;</script></body>"
    watch = "<script>window.onerror = function (m) { document.body.dataset.error = m; };</script></head>"
    (tmp_path / "page.html").write_text(path.read_text().replace("</body>", probe).replace("</head>", watch))
    dom = browse(tmp_path / "page.html", tmp_path / "profile", "--dump-dom")
    assert re.search(r"<title>\d{3,4} 1</title>", dom), "the figure is decoded"
    assert "data-error" not in dom
    heads = len(re.findall("<th ", dom))
    copies = dom.count('<button type="button" class="copy"')
    assert dom.count("<button") - copies == heads, "every heading can be pressed"
    assert copies == dom.count('<code class="command"') == 5 + 2, "each run's command and each failure's"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_copies_a_command_and_has_room_for_it(tmp_path: Path) -> None:
    words = "dlrun model=mlp " + " ".join(f"optimizer.key_{n}=0.123456" for n in range(12)) + " 'a=<b>&c'"
    rows = [[*(page.cell("0.1234", 0.1234) for _ in range(7)), page.code_cell(words)]]
    text = page.page("t", "", [page.table([f"metric_{n}" for n in range(8)], rows, "runs")])
    press = """<script>document.execCommand = function () { window.copied = String(getSelection()); return true; };
    Object.defineProperty(navigator, "clipboard", { value: undefined });
    document.querySelector("button.copy").click();
    var scroll = document.querySelector(".scroll");
    document.body.dataset.copied = window.copied;
    document.body.dataset.cut = scroll.scrollWidth > scroll.clientWidth;</script></body>"""
    (tmp_path / "page.html").write_text(text.replace("</body>", press))
    dom = browse(tmp_path / "page.html", tmp_path / "profile", "--window-size=1300,900", "--dump-dom")
    body = next(attrs for tag, attrs in Page(dom).tags if tag == "body")
    assert body == {"data-copied": words, "data-cut": "false"}
    assert ">copied</button>" in dom or ">copy</button>" in dom


def test_a_link_survives_odd_names(tmp_path: Path) -> None:
    run = make_run(tmp_path / "jobs" / "a b#1%", make_config())
    (cell,) = [attrs for tag, attrs in Page(html._place_cell(run, tmp_path)).tags if tag == "a"]
    assert unquote(cell["href"]) == "jobs/a b#1%/"
    assert "#" not in cell["href"]
    assert "href" not in html._place_cell(tmp_path / "jobs" / "waiting", tmp_path)

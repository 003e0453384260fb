"""report.html: what it holds, and that it is self-contained and escaped. A browser shows it in test_browser.py."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from dlrun.errors import RunError
from dlrun.report.compare import write_results
from dlrun.report.grouped import grouped_table
from dlrun.report.html import report_command, write_report
from dlrun.report.jobs import SweepEntry
from dlrun.report.page import fenced
from dlrun.report.sweep_page import place_cell
from dlrun.report.tables import FIGURES
from dlrun.store.failure import Failure
from dlrun.store.reader import StoredRun
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep, to_yaml

VOID = {"meta", "img", "br", "link", "input"}


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
    folders = [link for link in links if not link.startswith("#")]
    assert len(folders) == 5
    assert all((sweep / link).is_dir() for link in folders), "links lead to the runs, from where the page is"
    places = {attrs["id"] for tag, attrs in shown.tags if "id" in attrs}
    assert {link.removeprefix("#") for link in links} - set(folders) == places
    assert len(places) == 5
    assert not [tag for tag, attrs in shown.tags if tag == "link" or ("href" in attrs and tag != "a")]
    assert not re.search(r"https?://|url\(|@import", text)


@pytest.mark.usefixtures("no_figures")
def test_it_shows_groups_jobs_remarks_failures_and_commands(sweep: Path) -> None:
    shown = Page(write_report(sweep).read_text())
    assert shown.of("h2") == [
        "Best first",
        "To bear in mind",
        "Figures",
        "Figures of single runs",
        "Failures",
        "Every run",
        "Curves",
    ]
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
    assert all(attrs["scope"] in ("col", "row") for tag, attrs in shown.tags if tag == "th")
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
    assert alternatives == [FIGURES["confusion.png"]], "there is no confusion.csv"
    drawn = [attrs["aria-label"] for tag, attrs in shown.tags if tag == "svg"]
    assert [words.split(".")[0] for words in drawn] == ["loss by epoch", "accuracy by epoch", "learning rate by epoch"]
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


def test_a_link_survives_odd_names(tmp_path: Path) -> None:
    run = make_run(tmp_path / "jobs" / "a b#1%", make_config())
    href = place_cell(run, tmp_path).href
    assert unquote(href) == "jobs/a b#1%/"
    assert "#" not in href
    assert not place_cell(tmp_path / "jobs" / "waiting", tmp_path).href


def test_a_model_card_has_the_facts_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", make_config(model__activation="a|b*<i>`"))
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    summary = json.loads((run / "summary.json").read_text()) | {"remarks": ["the outputs are constant"]}
    (run / "summary.json").write_text(json.dumps(summary))
    made = {
        "made": "2026",
        "part": "test",
        "rows": 9,
        "checkpoint": "best.pt",
        "metrics": {"loss": 0.5},
        "baseline": {},
    }
    classes = [{"class": name, "precision": 1.0, "recall": 0.5, "f1": 0.67, "support": 9} for name in ("cat", "d|og")]
    (run / "evaluations" / "new").mkdir(parents=True)
    (run / "evaluations" / "new" / "evaluation.json").write_text(json.dumps({**made, "classes": classes}))
    assert report_command(run, card=True) == 0
    assert capsys.readouterr().out.strip() == str(run / "model-card.md")
    text = (run / "model-card.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Result", "## Evaluation new", "## Limits", "## How to use", "## Training settings", "## Environment",
    ]  # fmt: skip
    assert "against 0.1000 of the baseline: majority class" in text
    assert "| d\\|og | 1.0000 | 0.5000 | 0.6700 | 9 |" in text
    assert "| model.activation | a\\|b\\*\\<i\\>\\` |" in text
    assert "- the outputs are constant" in text
    assert f"dlrun predict {run} INPUT" in text
    assert f"run = dlrun.load_run({str(run)!r})" in text


def test_a_model_card_is_of_one_run(sweep: Path) -> None:
    with pytest.raises(RunError, match="is no run: a model card is of one run"):
        report_command(sweep, card=True)


def test_a_block_of_code_ends_where_its_fence_ends() -> None:
    assert fenced("a\n```\nb\x1b", "sh") == "````sh\na\n```\nb\\x1b\n````"


@pytest.mark.usefixtures("no_figures")
def test_damaged_samples_and_matrices_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    bad = [{"true": "a"}, 7, {"true": "a", "predicted": "b", "image": '"><script>', "input": 3}]
    (run / "mistakes.json").write_text(json.dumps({"worst": bad, "samples": "none", "columns": None}))
    (run / "confusion.csv").write_text("true,a,b\na,1,x\nb,1,1\n")
    shown = Page(write_report(run).read_text())
    assert "Predictions" in shown.of("h2")
    assert "Confusion matrix" not in shown.of("h2")
    assert len([tag for tag, _ in shown.tags if tag == "script"]) == 1
    (run / "confusion.csv").write_text('true,"a,b",c\n"a,b",8,2\nc,0,5\n')
    shown = Page(write_report(run).read_text())
    assert "a,b -> c: 2 times (20.0% of a,b)" in shown.of("li")
    assert {"80.0%", "100.0%", "71.4%"} <= set(shown.of("td")), "recall and precision"


@pytest.mark.usefixtures("no_figures")
def test_a_sweep_of_a_hundred_runs_is_small_and_leads_to_pages_that_exist(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    for number in range(100):
        make_run(folder / "jobs" / str(number), make_config(seed=number), epochs=100, overrides=[f"seed={number}"])
    write_report(folder / "jobs" / "7")
    path = write_report(folder)
    assert path.stat().st_size < 2_000_000
    shown = Page(path.read_text())
    links = {attrs["href"] for tag, attrs in shown.tags if tag == "a"}
    assert "jobs/7/report.html" in links
    assert len([link for link in links if link.startswith("#curves-")]) == 99

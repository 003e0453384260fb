"""Text of files is shown and not obeyed: no command's output holds a control character that a file brought in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from dlrun import cli
from dlrun.plain import one_line, printable
from dlrun.report.html import write_card, write_report
from dlrun.report.tables import Table
from dlrun.run.screen import Screen
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ednal\udce9"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202ednal\udce9"


def assert_harmless(text: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text), repr(text)


def evil_run(path: Path) -> Path:
    """A run whose files hold control characters wherever there is text."""
    run = make_run(path, make_config(model__activation=EVIL[:-1]), state="failed", error=f"{EVIL}\n{EVIL}")
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"name": EVIL, "kind": EVIL, "traceback": EVIL}))
    (run / "summary.json").write_text(json.dumps({"monitor": EVIL, "best": {EVIL: 1.0}, "stopped": EVIL}))
    (run / "overrides.txt").write_bytes(f"model.activation={EVIL[:-1]}\n".encode())
    return run


@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["runs", f"{EVIL}=3"],
        ["runs", "--sort", EVIL],
        ["compare", "outputs"],
        ["compare", EVIL],
        ["report", EVIL],
        ["resume", EVIL],
        ["resume", "outputs/a"],
        ["replay", "outputs/a"],
        ["sweep", "status", "outputs/sweeps/s"],
        ["sweep", "retry", "outputs/sweeps/s"],
        ["sweep", "status", EVIL],
        [f"optimizer.lr={EVIL}"],
        [f"{EVIL}=1"],
        [EVIL],
        [f"--{EVIL}"],
        ["explain", EVIL],
        [f"plugins=[{EVIL[:-1]}]"],
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL").encode("ascii", "replace").decode(),
)
def test_no_command_prints_a_control_character(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    evil_run(Path("outputs/a"))
    evil_run(Path("outputs/b"))
    sweep = make_sweep(Path("outputs/sweeps/s"), ("adam",), (0.1,), 1)
    job = {"swept": {EVIL[:-1]: EVIL[:-1]}, "overrides": [EVIL[:-1]], "fixed": [EVIL[:-1]], "invalid": EVIL[:-1]}
    facts = {"format": 1, "jobs": {"adam-0.1-0": job}, "settings": {"search": "grid"}}
    (sweep / "sweep.yaml").write_text(yaml.safe_dump(facts))
    cli.main(words)
    printed = capsys.readouterr()
    assert_harmless(printed.out + printed.err)
    assert "Traceback" not in printed.err, printed.err
    assert SHOWN[:9] in printed.out + printed.err or words[:2] in (["compare", "outputs"], ["replay", "outputs/a"])


def test_no_page_or_card_holds_a_control_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    run = evil_run(tmp_path / "runs" / "a")
    row = {"row": EVIL, "input": [EVIL], "true": EVIL, "predicted": EVIL[1:], "probability": EVIL}
    (run / "mistakes.json").write_text(json.dumps({"columns": [EVIL], "part": EVIL, "worst": [row], "samples": [row]}))
    (run / "confusion.csv").write_bytes(f"true,{EVIL[:-1]},b\n{EVIL[:-1]},1,2\nb,3,4\n".encode())
    made = {"part": EVIL, "checkpoint": EVIL, "metrics": {EVIL: 1.0}, "classes": [{"class": EVIL}], "remarks": [EVIL]}
    (run / "evaluations" / "x").mkdir(parents=True)
    (run / "evaluations" / "x" / "evaluation.json").write_text(json.dumps(made))
    for text in (write_report(run).read_text(), write_card(run).read_text(), write_report(run.parent).read_text()):
        assert_harmless(text)
        assert SHOWN[4:11] in text


def test_control_characters_are_spelled_and_letters_stay() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("żółć 日本\tn\n") == "żółć 日本\tn\n"
    assert one_line("a\n\tb\r") == r"a\n\tb\r"


def test_a_table_and_a_screen_show_text_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = str(Table([EVIL], [[f"{EVIL}\nsecond row"]], title=EVIL, notes=[EVIL]))
    assert_harmless(table)
    assert len(table.splitlines()) == 4
    screen = Screen(terminal=False)
    screen.open_log(tmp_path / "train.log")
    screen.line(EVIL)
    screen.pairs([("name", EVIL)])
    screen.close()
    assert_harmless(capsys.readouterr().out + (tmp_path / "train.log").read_text())

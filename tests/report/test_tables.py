"""Tables: aligned and plain in a pipe, rich on a terminal; and the closing table of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dlrun.errors import an, count_of
from dlrun.report.tables import Table, closing_table, format_number, format_seconds, format_value, print_table
from tests.helpers.runs_by_hand import make_metrics, make_summary


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TABLE = Table(["name", "loss"], [["mlp [red]", "0.5"], ["a", "-12"]], title="Title", notes=["a note"])


def test_plain_tables_are_aligned_without_trailing_spaces() -> None:
    assert str(TABLE).splitlines() == ["Title", "name       loss", "mlp [red]   0.5", "a           -12", "a note"]
    assert str(Table(["a", "b"], [])) == "a  b"


def test_a_pipe_gets_plain_lines_and_a_terminal_a_rich_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Table(["status"], [["failed"], ["[bold]x"]])
    pipe, terminal = io.StringIO(), Terminal()
    print_table(coloured, pipe)
    print_table(coloured, terminal)
    assert pipe.getvalue() == "status\nfailed\n[bold]x\n"
    assert "\033[31mfailed" in terminal.getvalue()
    assert "[bold]x" in terminal.getvalue(), "names are no markup"
    assert "─" in terminal.getvalue()


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    print_table(Table(["status"], [["failed"]]), terminal)
    assert "\033[31m" not in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    dumb = Terminal()
    print_table(Table(["status"], [["failed"]]), dumb)
    assert dumb.getvalue() == "status\nfailed\n"


def test_a_narrow_terminal_lacks_columns_not_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least important columns go, and are named; a pipe gets all of them."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    names = ["optimizer", "val_loss", "std", "95 % interval", "test_accuracy"]
    cells = ["momentum", "0.1234", "0.0456", "-0.5836 to 0.7555", "0.9315 ± 0.0123"]
    wide = Table(names, [cells], spare=["std", "test_accuracy", "95 % interval"], elsewhere="see results.csv")
    for columns, there in ((90, 5), (70, 4), (60, 3), (40, 2)):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal = Terminal()
        print_table(wide, terminal)
        text = terminal.getvalue()
        assert len([cell for cell in cells if cell in text]) == there, text
        note = " ".join(text.split("columns have no room for:")[-1].split())
        gone = [name for name, cell in zip(names, cells, strict=True) if cell not in text]
        assert all(name in note for name in gone)
        assert ("see results.csv" in note) == bool(gone)
    pipe = io.StringIO()
    print_table(wide, pipe)
    assert all(cell in pipe.getvalue() for cell in cells)


def test_the_closing_table_puts_the_baseline_beside_the_test_result(tmp_path: Path) -> None:
    (tmp_path / "curves.png").touch()
    rows = make_metrics(10, 0.1)
    rows[6]["val_loss"] = 0.01
    summary = make_summary(rows)
    lines = str(closing_table(summary, tmp_path)).splitlines()
    assert lines[0].split()[:2] == ["loss", "accuracy"]
    found = {
        words: next(line for line in lines if line.startswith(words)).removeprefix(words).split()
        for words in ("val, best (epoch 7)", "train, last (epoch 10)", "test of best", "majority class")
    }
    assert found["majority class"] == ["0.1000"]
    assert found["test of best"][1] == format_number(summary["test"]["accuracy"])
    assert lines[-2].startswith("6.0 s in all · 5.0 s training")
    assert lines[-1] == f"{tmp_path}/: curves.png"


def test_when_the_last_epoch_is_the_best_it_is_shown_once() -> None:
    text = str(closing_table(make_summary(make_metrics(4, 0.1))))
    assert "train, best and last (epoch 4)" in text
    assert "train, last" not in text


def test_a_regression_has_the_mean_value_beside_it() -> None:
    summary = {"last": {"epoch": 3, "train_loss": 0.5, "train_mae": 0.2}, "baseline": {"mae": 1.0}}
    text = str(closing_table(summary))
    assert "mean value" in text
    assert "test" not in text
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["loss", "mae"]
    assert lines[1][-2:] == ["0.5000", "0.2000"]
    assert lines[2] == ["mean", "value", "1.0000"]


@pytest.mark.parametrize("summary", [{}, {"best": None, "last": [], "test": 3, "baseline": {"accuracy": None}}])
def test_a_summary_with_nothing_in_it(summary: dict[str, object]) -> None:
    assert str(closing_table(summary)) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (0.123456, "0.1235"), (123.456, "123.5"), (1e-5, "1e-05"), (0.0, "0"), (123456.0, "123,500"),
     (25143.7, "25,140"), (-25143.7, "-25,140"), (9999.7, "10,000"), (9999.2, "9999"), (9.99996, "10"),
     (123456789, "123,500,000"), (1.23456e9, "1.235e+09"), (None, ""), (float("nan"), "nan"),
     (float("inf"), "inf")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.123, "0.12 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7380, "2 h 03 min"),
        (None, ""),
    ],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


def test_values_are_written_as_on_the_command_line() -> None:
    assert format_value([64, 0.5, None, True]) == "[64,0.5,null,true]"
    assert format_value(0.1) == "0.1"
    assert format_value(0.123456789) == "0.123456789"


def test_counts_are_singular_and_plural() -> None:
    assert [count_of(n, "epoch") for n in (1, 2, 10_000)] == ["1 epoch", "2 epochs", "10,000 epochs"]
    assert count_of(3, "batch") == "3 batches"
    assert (an("optimizer"), an("model")) == ("an optimizer", "a model")


def test_the_loss_of_a_constant_guess_stands_in_the_column_of_the_loss() -> None:
    summary = {
        "loss": "mse",
        "test": {"loss": 0.5, "mae": 0.4},
        "baseline": {"of": "mean value", "mse": 1.5, "mae": 0.9},
    }
    table = closing_table(summary)
    assert list(table.headers) == ["", "loss", "mae"]
    assert [list(row)[1] for row in table.rows] == ["0.5000", "1.5000"]


def test_every_figure_that_is_there_is_named(tmp_path: Path) -> None:
    for name in ("fit.png", "reconstructions.png", "profile.txt"):
        (tmp_path / name).touch()
    notes = "\n".join(closing_table({}, tmp_path).notes)
    assert all(name in notes for name in ("fit.png", "reconstructions.png", "profile.txt"))

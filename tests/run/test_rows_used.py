"""Where fewer rows are used than a part has, it is said of every figure; seconds are those that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun import cli
from dlrun.report.tables import closing_table
from dlrun.store.reading import read_columns, read_json
from tests.helpers.quick_runs import begin, interrupt, run

pytestmark = pytest.mark.usefixtures("quick")


def test_rows_that_are_not_used_are_said_in_header_table_and_summary(capsys: pytest.CaptureFixture[str]) -> None:
    """Four batches of 16 of each part."""
    assert run() == 0
    told = capsys.readouterr().out
    summary = read_json(Path("a/summary.json"))
    counts, part = summary["counts"], summary["baseline"]["part"]
    assert (counts["train_used"], counts["val_used"], counts["test_used"]) == (64, 64, 64)
    assert counts["test"] == 359
    assert "64 of 359 test" in told
    table = str(closing_table(summary))
    assert "test of best, 64 of 359 rows" in table
    assert f"val, best and last (epoch 2), 64 of {counts['val']} rows" in table
    assert f"{summary['baseline']['of']}, 64 of {counts[part]} rows" in table
    assert "the result is measured on 64 of 359 test rows (trainer.max_batches=4)" in told
    assert (summary["baseline"]["accuracy"] * 64) % 1 == pytest.approx(0)


def test_nothing_is_said_where_all_rows_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trainer.max_batches=null") == 0
    assert " rows" not in capsys.readouterr().out


def test_an_overfitted_batch_leaves_the_other_parts_unused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trainer.max_batches=null", "trainer.overfit=true") == 0
    assert "0 of 359 test" in capsys.readouterr().out


def test_seconds_are_measured_and_outlive_an_interruption() -> None:
    begin("trainer.epochs=3", "trainer.accumulate=3", on_epoch=interrupt())
    assert cli.main(["resume", "a"]) == 0
    times, rows = read_json(Path("a/summary.json"))["times"], read_columns(Path("a/metrics.csv"))
    speed = [64 / speed for speed in rows["samples_per_second"]]
    assert times["train_seconds"] == pytest.approx(sum(speed), rel=1e-3)
    assert times["train_seconds"] + times["eval_seconds"] > sum(rows["epoch_seconds"])
    assert times["eval_seconds"] < 2 * (sum(rows["epoch_seconds"]) - sum(speed)) + 0.5

"""`trainer.predict_on_best`: what is printed at each new best and at the end; training is not changed by it."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.errors import ConfigError
from tests.helpers.traps import column, train

pytestmark = pytest.mark.usefixtures("quick")

NAMES = [
    "model=gru",
    "model.hidden_size=8",
    "dataset=names",
    "dataset.source=builtin",
    "model.num_layers=2",
    "model.dropout=0.2",
]


def test_predictions_are_printed_at_each_new_best_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *NAMES,
        "trainer.epochs=3",
        "trainer.max_batches=6",
        "trainer.predict_on_best=[Satoshi,O'Neill]",
        f"run.dir={tmp_path / 'run'}",
    ]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("epoch") and line.endswith("*")]
    assert len(at) >= 2
    assert all(lines[i + 1].startswith("    Satoshi") and lines[i + 2].startswith("    O'Neill") for i in at)
    end = [line.split() for line in lines if line.startswith("  predicts")]
    frame = dlrun.load_run(tmp_path / "run").predict(["Satoshi", "O'Neill"])
    assert [words[1:3] for words in end] == frame[["input", "prediction"]].to_numpy().tolist()
    assert "    Satoshi" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


def test_training_is_not_changed_by_predictions() -> None:
    short = [*NAMES, "trainer.epochs=2", "trainer.max_batches=4"]
    plain = train(*short)
    shown = train(*short, "trainer.predict_on_best=[Satoshi]")
    assert column(plain, "train_loss") == column(shown, "train_loss")
    assert plain.config.identity == shown.config.identity


def test_the_word_and_the_value_that_the_small_experiments_promise_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["experiment=hello_embedding_gru", "trainer.epochs=20", f"run.dir={tmp_path / 'a'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "predicts  hello  ohlol" in "\n".join(lines)
    assert (
        cli.main(["experiment=linear_regression", "optimizer=lbfgs", "trainer.epochs=30", f"run.dir={tmp_path / 'b'}"])
        == 0
    )
    out = capsys.readouterr().out
    value = float(next(line for line in out.splitlines() if "predicts" in line).split()[2])
    assert value == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("[-]", "standard input cannot be read"),
        ("['  ']", "is empty"),
        ("[nosuch.csv]", "nosuch.csv: there is no such"),
    ],
)
def test_inputs_that_cannot_be_predicted_are_refused_before_anything_is_written(
    inputs: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        dlrun.train([*NAMES, f"trainer.predict_on_best={inputs}", f"run.dir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()

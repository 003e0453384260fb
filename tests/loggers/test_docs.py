"""The loggers of docs/loggers.md work as they stand there."""

from __future__ import annotations

import re
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from dlrun import cli, load_run
from tests.helpers.python import ROOT
from tests.helpers.quick_runs import run

PAGE = (ROOT / "docs" / "loggers.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.usefixtures("quick")


def write(name: str) -> None:
    """Write the code block of the page that begins with the name of its file, up to the commands after it."""
    (block,) = re.findall(rf"^    # {name}\n(?:(?!    dlrun )(?:    .*)?\n)+", PAGE, re.MULTILINE)
    Path(name).write_text(textwrap.dedent(block))


def test_the_plain_function_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    write("shout.py")
    assert run("plugins=[shout.py]", "logger=shout", "logger.word=look") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("look ")]
    assert said[0] == "look a trains with lr 0.001"
    assert said[1].startswith("look epoch 1 train_loss 2.")
    assert said[-1] == f"look finished {load_run('a').summary['test']['accuracy']}"
    assert len(said) == 4


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_holds_everything_once() -> None:
    write("mlflow_logger.py")
    words = ["plugins=[mlflow_logger.py]", "logger=mlflow", "logger.experiment=digits"]
    assert run(*words) == 0
    assert cli.main(["resume", "a", "--plugin", "mlflow_logger.py", "trainer.epochs=3"]) == 0
    assert "warning" not in Path("a/train.log").read_text()
    mlflow = sys.modules["mlflow"]
    (found,) = mlflow.search_runs(experiment_names=["digits"], output_format="list")
    assert (found.info.status, found.data.params["optimizer.lr"]) == ("FINISHED", "0.001")
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "train_loss")
    table = load_run("a").metrics
    assert [(m.step, m.value) for m in history] == list(zip(table["step"], table["train_loss"], strict=True))
    assert found.data.metrics["test_accuracy"] == load_run("a").summary["test"]["accuracy"]
    assert "best.pt" in {file.path for file in mlflow.MlflowClient().list_artifacts(found.info.run_id)}

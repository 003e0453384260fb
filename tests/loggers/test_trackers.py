"""The loggers of experiment trackers, each in an environment that has its package (elsewhere they are skipped):

uv run --isolated --no-default-groups --extra wandb --with pytest pytest tests/loggers
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dlrun import load_run

FIGURES = {"confusion", "curves", "mistakes"}


def has(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which trackers keep what they would keep in the home of the user."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRACKIO_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path


RUN = """
import os, socket, sys
from dlrun import cli
from tests.helpers.quick_runs import begin

def no_network(event, arguments):
    if event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
        raise RuntimeError(f"a connection to {arguments[1]}")

def kill(row):
    if row["epoch"] == 3:
        os.kill(os.getpid(), 9)

sys.addaudithook(no_network)
if sys.argv[1] == "kill":
    begin("trainer.epochs=4", "checkpoint.every_epochs=2", *sys.argv[2:], on_epoch=kill)
else:
    sys.exit(cli.main(sys.argv[1:]))
"""


def python(*words: str) -> int:
    """The command line, or a run that is killed after epoch 3 with a checkpoint of epoch 2, in another process.

    Connections to other machines are errors there, and a logger that has one is a warning.
    """
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.stdout.count("warning")) == ("", 0), done.stdout
    return done.returncode


def train_loss() -> dict[int, float]:
    """The loss of every step in metrics.csv."""
    table = load_run("a").metrics
    return dict(zip(table["step"].tolist(), table["train_loss"].tolist(), strict=True))


@pytest.fixture
def killed_and_resumed(request: pytest.FixtureRequest, folder: Path) -> None:
    """A run with the logger of the test's parameter in the folder `a`."""
    assert python("kill", f"logger={request.param}") == -9
    assert python("resume", "a") == 0


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: chunks in blocks of 32 KiB, each after its checksum, length and type."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole record, or its last chunk
            yield Record.FromString(record)
            record = b""


@has("wandb")
@pytest.mark.parametrize("killed_and_resumed", ["wandb"], indirect=True)
@pytest.mark.usefixtures("killed_and_resumed")
def test_wandb_holds_everything_once_in_the_run_directory(folder: Path) -> None:
    (path,) = Path("a/wandb").glob("offline-run-*/*.wandb")
    records = list(wandb_records(path))
    config = {item.key: json.loads(item.value_json) for r in records for item in r.run.config.update}
    assert (config["optimizer.lr"], config["model.name"]) == (0.001, "mlp")
    logged = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item} for r in records]
    rows = [(row["step"], row["train_loss"]) for row in logged if "train_loss" in row]
    assert rows == list(train_loss().items())
    assert {key for row in logged for key in row} >= FIGURES
    (artifact,) = (r.artifact for r in records if r.HasField("artifact"))
    assert [Path(entry.local_path) for entry in artifact.manifest.contents] == [folder / "a/checkpoints/best.pt"]
    summary = {item.key: item.value_json for r in records for item in r.summary.update}
    assert json.loads(summary["test.accuracy"]) == load_run("a").summary["test"]["accuracy"]


@has("trackio")
@pytest.mark.parametrize("killed_and_resumed", ["trackio"], indirect=True)
@pytest.mark.usefixtures("killed_and_resumed")
def test_trackio_holds_everything_once() -> None:
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_run_records("dlrun")
    logs = SQLiteStorage.get_logs("dlrun", run["name"])
    assert [(row["step"], row["train_loss"]) for row in logs if "train_loss" in row] == list(train_loss().items())
    config = SQLiteStorage.get_run_config("dlrun", run["name"])
    assert (config["optimizer.lr"], config["model.name"]) == (0.001, "mlp")
    assert {key for row in logs for key, value in row.items() if isinstance(value, dict)} == FIGURES
    (artifact,) = SQLiteStorage.get_artifacts("dlrun")
    assert (artifact["type"], artifact["size_bytes"]) == ("model", Path("a/checkpoints/best.pt").stat().st_size)
    tested = load_run("a").summary["test"]["accuracy"]
    assert [row["test_accuracy"] for row in logs if "test_accuracy" in row] == [tested]

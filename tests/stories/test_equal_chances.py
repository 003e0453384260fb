"""A comparison with equal chances that is killed again and again ends in the table of one that ran through."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.deadline import deadline

WORDS = ["optimizer=sgd,adam", "sweep.budget=3", "sweep.repeat=2", "device=cpu", "device.threads=1", "trainer.epochs=4"]
APART = ("path", "command")  # beside times
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def begin(folder: Path) -> subprocess.Popen[bytes]:
    words = ["-m", *WORDS, "run.figures=none", f"sweep.dir={folder}", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "dlrun", *words], cwd=folder.parent, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def finish(folder: Path) -> None:
    assert begin(folder).wait(timeout=deadline(120)) == 0


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / name) as file:
        return [
            {key: text for key, text in row.items() if key not in APART and "second" not in key}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
def test_a_protocol_that_is_killed_ends_in_the_same_table(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)
    ended = 0
    for count in (1, 4, 7, 9):  # in tuning, at its end, and among the final runs
        process = begin(killed)
        until = time.monotonic() + deadline(120)
        while len([*killed.glob("jobs/*/summary.json")]) < count and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        ended += process.poll() is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert ended < 4, "no kill came in time"
    finish(killed)
    assert table(killed, "results.csv") == table(whole, "results.csv")
    assert table(killed, "tuning.csv") == table(whole, "tuning.csv")
    shutil.rmtree(whole)

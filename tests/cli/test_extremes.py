"""What no command can work with: words of 5,000 characters, a working folder that is gone, no file descriptors left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.commands import COMMANDS
from tests.helpers import warm
from tests.helpers.deadline import deadline
from tests.helpers.folders import contents
from tests.helpers.quick_runs import QUICK

LONG = "x" * 5000
DEEP = "/".join(["x" * 100] * 50)
SWEEP = ["-m", "seed=0,1", "sweep.dry_run=true"]

pytestmark = pytest.mark.usefixtures("quick")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """One error, of a few lines; what it says."""
    code = main(words)
    said = capsys.readouterr().err
    assert code == 2, said[-500:]
    assert re.match(r"error:\n|\d errors:\n", said)
    assert "Traceback" not in said
    assert len(said) < 2000
    return said


@pytest.mark.parametrize("word", [LONG, DEEP, f"{LONG}.py"], ids=["name", "path", "file"])
@pytest.mark.parametrize(
    "words",
    [
        ["WORD"], ["WORD=1"], ["+WORD=1"], ["~WORD"], ["seed=WORD"], ["seed=${WORD}"], ["optimizer.lr=WORD"],
        ["model=WORD"], ["experiment=WORD"], ["experiment=WORD.yaml"], ["init_from=WORD"],
        ["init_from=experiment:WORD"], ["plugins=[WORD]"], ["freeze=[WORD]"], ["run.dir=WORD"], ["run.name=WORD"],
        ["dataset=mnist", "dataset.root=WORD"], ["dataset=image_folder", "dataset.path=WORD"],
        ["dataset=names", "model=gru", "dataset.train_path=WORD"], ["--WORD"], ["--cfg", "WORD"],
        ["--completion", "WORD"], ["--config-dir", "WORD"], ["--plugin", "WORD"], ["resume", "WORD"],
        ["rerun", "WORD"], ["rerun", "WORD.yaml"], ["replay", "WORD"], ["compare", "WORD", "WORD"],
        ["report", "WORD"], ["explain", "WORD"], ["list", "WORD"],
        ["sweep", "status", "WORD"], ["sweep", "WORD", "s"], ["-m", "seed=0,1", "sweep.dir=WORD"],
        ["-m", "seed=0,1", "sweep.name=WORD"], ["-m", "model=mlp,WORD"], ["-m", "optimizer.lr=interval(WORD,1)"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_word_of_5000_characters(words: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    needs_training = [*QUICK, "trainer.max_steps=1"] if "=" in words[-1] and "-m" not in words else []
    refused([*(each.replace("WORD", word) for each in words), *needs_training], capsys)
    assert contents(".") == {}


@pytest.mark.parametrize(
    "key", ["seed", "optimizer", "optimizer.lr", "model.hidden", "freeze", "init_from", "run.name"]
)
@pytest.mark.parametrize("value", ["[{null:1},${seed}]", "[{null:{null:1}},${x}]", "{null:${seed}}"])
def test_null_as_a_key_beside_an_interpolation(key: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([f"{key}={value}", "--cfg", "job", "--resolve"], [*SWEEP[:1], f"{key}={value}", *SWEEP[2:]]):
        assert f"  {key}" in refused(words, capsys)


@pytest.mark.parametrize("command", ["", "--help", "-m", "--complete", *filter(None, COMMANDS)])
def test_the_working_folder_is_gone(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"": [], "-m": SWEEP, "--complete": ["--complete", "bash", "dlrun "]}.get(command, [command])
    os.chdir((tmp_path / "gone").mkdir() or tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the working folder cannot be entered" in refused(words, capsys)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["runs"], ["explain", "optimizer.lr"]], ids=" ".join)
def test_eight_file_descriptors_are_enough_for_light_commands(words: list[str]) -> None:
    command = ["bash", "-c", 'ulimit -n 8; exec "$@"', "bash", sys.executable, "-m", "dlrun", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline(60), check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("more", [0, 1, 2, 3])
@pytest.mark.parametrize("words", [[*QUICK, "run.dir=a"], ["-m", "seed=0,1", *QUICK]], ids=["run", "sweep"])
def test_no_file_descriptors_are_left(words: list[str], more: int, tmp_path: Path) -> None:
    """As many as are open already, and some more."""
    code = f"""
import os, resource
from dlrun.cli import main
os.chdir({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + {more}, 100))
os._exit(main({words!r}))
"""
    output = tmp_path / "said"
    assert warm.run_code(code, output) == 2, output.read_text()
    assert len(re.findall("too many files are open|: Too many open files", output.read_text())) == 1
    assert "Traceback" not in output.read_text()

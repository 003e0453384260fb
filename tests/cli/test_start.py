"""The first moments of the command: what `python -m dlrun` imports, and Ctrl-C while it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import foreign
from tests.helpers.deadline import deadline

INTERRUPTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "dlrun.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from dlrun.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["list", pytest.param("show seed=1 --count 1", marks=pytest.mark.slow)])
def test_the_module_imports_nothing_from_the_working_folder(command: str, tmp_path: Path) -> None:
    """But for what Python itself imports before dlrun's first line."""
    words = [sys.executable, "-P", "-c", "import runpy, dlrun, sys; print(*sys.modules)"]
    early = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    foreign.fill(tmp_path, without=early)
    words = [sys.executable, "-m", "dlrun", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=deadline(60))
    assert foreign.imported(tmp_path) == ""
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_the_command_is_imported_ends_it_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=deadline(60))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")

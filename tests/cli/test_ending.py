"""How a process ends: at once, but with everything done that others can see."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.helpers import warm
from tests.helpers.python import run_python

END = "import sys\nfrom dlrun.processes import end_process\n"


def ended(code: str, torch: bool = True) -> subprocess.CompletedProcess[str]:
    """A process that ends by `end_process`; it takes itself for one that has imported torch."""
    fake = "sys.modules['torch'] = sys\n" if torch else ""
    return run_python(f"{END}{fake}{code}")


@pytest.mark.parametrize("torch", [True, False])
def test_exit_functions_threads_and_output_are_not_lost(torch: bool) -> None:
    code = (
        "import atexit, threading, time\n"
        "atexit.register(print, 'exit function')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "print('printed', end=''); end_process(3)"
    )
    done = ended(code, torch)
    assert done.returncode == 3
    assert done.stdout == "printedthread\nexit function\n"


def test_what_would_take_time_is_not_taken_apart() -> None:
    done = ended("class A:\n    def __del__(self): print('taken apart')\na = A()\nend_process(0)")
    assert (done.returncode, done.stdout) == (0, "")
    done = ended("class A:\n    def __del__(self): print('taken apart')\na = A()\nend_process(0)", torch=False)
    assert done.stdout == "taken apart\n"


def test_an_exit_function_that_fails_is_shown_and_the_code_kept() -> None:
    done = ended("import atexit\natexit.register(lambda: 1 / 0)\nend_process(4)")
    assert done.returncode == 4
    assert "ZeroDivisionError" in done.stderr


def test_a_run_whose_reader_has_gone_is_finished(tmp_path: Path) -> None:
    (tmp_path / warm.DRAWING).touch()
    code = f"""
import os, signal, sys
os.chdir({str(tmp_path)!r})
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
sys.stdout = open(1, "w", closefd=False)
signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python begins
sys.argv[1:] = ["model=linear", "dataset=iris", "trainer.epochs=2", "run.dir=run", "device=cpu"]
from dlrun.__main__ import command
command()
"""
    assert warm.run_code(code, tmp_path / "said") == 0, (tmp_path / "said").read_text()
    assert '"state": "finished"' in (tmp_path / "run" / "status.json").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "curves.png").is_file()

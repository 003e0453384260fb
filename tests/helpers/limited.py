"""A command line in a forked child with a bound on its time and on its memory."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlrun import cli
from dlrun.store.reading import read_json
from tests.helpers.deadline import deadline

PAGE = os.sysconf("SC_PAGE_SIZE")


def limited(words: Sequence[str], seconds: float, mib: int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr. `mib` bounds what the command may map beyond what this process has mapped.

    A child that takes longer than so many seconds (of a quiet machine) is killed: exit code -14.
    """
    before = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    limit, alarm = before + (mib << 20), round(deadline(seconds)) + 1
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(alarm)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.stdout, sys.stderr = said = io.StringIO(), io.StringIO()
        try:
            code = cli.main(list(words))
        except BaseException:
            traceback.print_exc()
            code = 1
        for stream, name in zip(said, ("stdout", "stderr"), strict=True):
            Path(f".{name}").write_text(stream.getvalue(), errors="backslashreplace")
        os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    said_out, said_err = (Path(f".{name}").read_text() if code >= 0 else "" for name in ("stdout", "stderr"))
    return code, said_out, said_err


def trains_or_is_refused(words: Sequence[str], message: str, where: str, seconds: float = 20, mib: int = 1024) -> None:
    """Where `message` is empty, a run of these words ends well. Else it is one error that says this, and `where`.

    In no case a traceback, and after an error no run directory, or one that says that it failed.
    """
    code, out, err = limited([*words, "run.dir=run"], seconds, mib)
    assert "Traceback" not in out + err, err
    assert "\x1b" not in out + err
    assert code == (2 if message else 0), (code, err[-1000:])
    if message:
        assert err.startswith("error:\n")
        assert message in err, err
        assert re.search(where, err), err
    assert not message or not Path("run").exists() or read_json(Path("run/status.json"))["state"] == "failed"


def some(cases: list[tuple[str, ...]], every: int) -> list[object]:
    """Parameters of a test; each `every`-th of them is in the normal run."""
    return [pytest.param(*case, marks=[pytest.mark.faults] * bool(i % every)) for i, case in enumerate(cases)]

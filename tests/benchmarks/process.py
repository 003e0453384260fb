"""One measurement in a fresh process, pinned to a core, with one thread: speeds, start-up and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# The four tasks as dlrun's words: nothing that a user could not type. {limit}: rows of MNIST.
WORDS = {
    "digits_mlp": "model=mlp model.hidden=[64] dataset=digits dataset.val_fraction=0 optimizer=adam "
    "trainer.batch_size=64",
    "mnist_mlp": "experiment=mnist_mlp dataset.limit={limit}",
    "mnist_cnn": "experiment=mnist_cnn_small dataset.limit={limit}",
    "names_gru": "experiment=names_gru",
}


@dataclass
class Result:
    """What one process showed."""

    speeds: list[float] = field(default_factory=list)  # samples a second of training, one an epoch
    start: float | None = None  # seconds from the start of the process to the end of its first step
    memory_mib: float = 0.0  # the largest resident set
    seconds: float = 0.0  # of the whole process
    saves: list[float] = field(default_factory=list)  # seconds of each checkpoint
    failure: str = ""

    @property
    def speed(self) -> float | None:
        """The median epoch after the first, which warms up."""
        later = self.speeds[1:] or self.speeds
        return median(later) if later else None


@dataclass(frozen=True)
class Setting:
    """Where and on what the processes run."""

    root: Path  # the data root, as for dlrun
    core: int | None
    limit: int  # rows of MNIST
    peers_python: Path | None = None  # the interpreter of the peers' environment

    def environment(self) -> dict[str, str]:
        """One thread, no progress bar, this data root."""
        fixed = dict.fromkeys(ONE_THREAD, "1") | {"DLRUN_DATA": str(self.root), "NO_COLOR": "1"}
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return inherited | fixed  # as for users, modules are compiled once, not at each start


def run_peer(name: str, task: str, epochs: int, setting: Setting, own: bool) -> Result:
    """A peer in the peers' environment, or (`own`) in the one of this interpreter."""
    python = sys.executable if own or setting.peers_python is None else str(setting.peers_python)
    command = [python, str(HERE / "worker.py"), name, task, "--epochs", str(epochs)]
    command += ["--root", str(setting.root)]
    if task.startswith("mnist"):
        command += ["--limit", str(setting.limit)]
    began = time.time()
    result, output = measured(command, setting)
    if not result.failure:
        report = json.loads(output.strip().splitlines()[-1])
        result.speeds = report["speeds"]
        result.start = report["first_step"] - began if report["first_step"] else None
    return result


def run_dlrun(task: str, words: list[str], setting: Setting) -> Result:
    """`dlrun` as a user runs it, in a process of its own, its times noted by noted.py."""
    with tempfile.TemporaryDirectory(prefix="dlrun_bench_") as folder:
        run, note = Path(folder) / "run", Path(folder) / "note"
        base = WORDS[task].format(limit=setting.limit).split() if task in WORDS else [task]
        start = [sys.executable, str(HERE / "noted.py"), str(note)]
        began = time.time()
        result, _ = measured([*start, *base, *words, f"run.dir={run}"], setting)
        if not result.failure:
            notes = json.loads(note.read_text())
            result.start, result.speeds, result.saves = (notes["first"] - began, notes["speeds"], notes["saves"])
        return result


def measured(command: list[str], setting: Setting) -> tuple[Result, str]:
    """Run a command. Returns its result and what it printed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=setting.environment(), cwd=tempfile.gettempdir()
        )
        if setting.core is not None:
            os.sched_setaffinity(process.pid, {setting.core})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        kibibytes = usage.ru_maxrss if sys.platform == "linux" else usage.ru_maxrss / 1024
        result = Result(seconds=time.perf_counter() - began, memory_mib=kibibytes / 1024)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            result.failure = " ".join(err.read().split()[-40:])[-300:] or "no message"
        return result, out.read()


def quiet_core() -> int | None:
    """The last core this process may use (Linux), or None where processes cannot be pinned."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else None

"""`dlrun verify-resume`: prove that an interrupted run ends as an uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dlrun.config.schema import Config
from dlrun.errors import CheckFailed, RunError
from dlrun.run import checkpoint as files
from dlrun.run.rundir import RunDir
from dlrun.run.screen import duration

TIMING = ("epoch_seconds", "samples_per_second")
KILLS = 3


def verify_command(config: Config, *, quiet: bool) -> int:
    """Train twice in a temporary folder, once killed and resumed several times, and compare. 0: equal; else 3."""
    say = (lambda text: None) if quiet else print
    with tempfile.TemporaryDirectory(prefix="dlrun-verify-") as folder:
        whole, broken = RunDir(Path(folder) / "whole"), RunDir(Path(folder) / "broken")
        started = time.perf_counter()
        train_to_the_end(config, whole)
        seconds = time.perf_counter() - started
        say(f"trained without interruption in {duration(seconds)}")
        kills = train_with_kills(config, broken, seconds, say)
        differences = compare(whole, broken)
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:10])
        raise CheckFailed(f"after {kills} interruptions the result differs:\n{listed}")
    print(
        f"exact: after {kills} interruptions weights, optimizer, random state and metrics are equal bit for bit"
    )
    return 0


def command(config: Path, run: RunDir) -> list[str]:
    """A process that starts this run, or goes on with it."""
    return [sys.executable, "-m", "dlrun.after.worker", str(config), str(run.path)]


def start(config: Config, run: RunDir) -> subprocess.Popen[bytes]:
    """Start (or go on with) a run in a process of its own."""
    path = run.path.parent / f"{run.path.name}.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        command(path, run), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def train_to_the_end(config: Config, run: RunDir) -> None:
    """Raises `RunError` when the process fails."""
    process = start(config, run)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RunError(f"the run itself fails:\n{output.decode(errors='replace').strip()[-2000:]}")


def train_with_kills(config: Config, run: RunDir, seconds: float, say: Any) -> int:
    """Kill the run at random moments (the first by SIGTERM, the others by SIGKILL) and let it go on each time."""
    dice = random.Random(config.seed)
    for kill in range(KILLS):
        process = start(config, run)
        wait_until_training(run, process)
        try:
            process.wait(timeout=dice.uniform(0.0, max(0.2, seconds / (KILLS + 1))))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM if kill == 0 else signal.SIGKILL)
        process.communicate()
        status = run.read_status()
        say(f"interrupted at step {status.get('step', 0)} ({'SIGTERM' if kill == 0 else 'SIGKILL'})")
        if status.get("state") == "finished":
            break
    train_to_the_end(config, run)
    return kill + 1


def wait_until_training(run: RunDir, process: subprocess.Popen[bytes]) -> None:
    """Return when the run says that it is running (or the process is gone)."""
    while process.poll() is None and run.read_status().get("pid") != process.pid:
        time.sleep(0.01)


def compare(one: RunDir, other: RunDir) -> list[str]:
    """What differs between two finished runs: checkpoints to the bit, and metrics.csv but for its timing columns."""
    differences = []
    for path in (one.last, one.best):
        if path.exists():
            a, b = files.read(path), files.read(other.checkpoints / path.name)
            differences += [f"{path.name}: {line}" for line in differing(a, b) if not about_time(line)]
    if metrics_text(one) != metrics_text(other):
        differences.append("metrics.csv differs")
    return differences


def about_time(line: str) -> bool:
    """The configuration names the directory, and history the seconds: both differ by nature."""
    return line.startswith(("config.", "history.values", "sums.seconds", "sums.waited", "best.row"))


def differing(a: Any, b: Any, where: str = "") -> list[str]:
    """The places at which two checkpoints differ."""
    import torch

    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.shape == b.shape and torch.equal(a, b) else [f"{where}: tensors differ"]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys differ"]
        return [
            line for key in a for line in differing(a[key], b[key], f"{where}.{key}" if where else str(key))
        ]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [
            line
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for line in differing(x, y, f"{where}[{i}]")
        ]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def metrics_text(run: RunDir) -> list[list[str]]:
    """The cells of metrics.csv without the timing columns."""
    header, *lines = [line.split(",") for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    keep = [i for i, name in enumerate(header) if name not in TIMING]
    return [[cells[i] for i in keep] for cells in (header, *lines)]

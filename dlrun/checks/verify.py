"""`dlrun verify-resume`: prove that an interrupted run ends as an uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrun.checks.worker import log_of, start
from dlrun.components.plugins import loaded
from dlrun.config.config import Config
from dlrun.errors import CheckFailed, RunError
from dlrun.report.tables import format_seconds
from dlrun.store import checkpoint as files
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir

TIMING = ("epoch_seconds", "samples_per_second")
KILLS = 3
ATTEMPTS = 3 * KILLS  # a kill may come before the first step


def verify_command(config: Config, *, quiet: bool) -> int:
    """Train twice in a temporary folder, once killed and resumed several times, and compare. 0: equal; else 3."""
    say: Callable[[str], None] = (lambda text: None) if quiet else print
    with terminable(), tempfile.TemporaryDirectory(prefix="dlrun-verify-") as folder:
        frozen = Path(folder) / "frozen.yaml"
        frozen.write_text(config.to_yaml(), encoding="utf-8")
        whole, broken = RunDir(Path(folder) / "whole"), RunDir(Path(folder) / "broken")
        train_to_the_end(frozen, whole)
        summary = read_json(whole.summary)
        seconds, steps = summary["times"]["total_seconds"], summary["counts"]["steps"]
        say(f"trained without interruption in {format_seconds(seconds)}")
        kills = train_with_kills(frozen, broken, seconds, steps, random.Random(config.seed), say)
        if kills == 0:
            longer = "give it more trainer.epochs (or trainer.max_steps)."
            raise RunError(f"the run ends before it can be interrupted in the middle: {longer}")
        differences = compare(whole, broken)
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:10])
        raise CheckFailed(f"after {kills} interruptions the result differs:\n{listed}")
    words = "weights, optimizer, random state and metrics are equal bit for bit"
    print(f"exact: after {kills} interruption{'s' if kills > 1 else ''} {words}")
    return 0


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM is an exception, so that processes and folders are cleared away."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def begun(frozen: Path, run: RunDir) -> Iterator[Any]:
    """`begin`; the process does not outlive the block."""
    process = begin(frozen, run)
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def begin(frozen: Path, run: RunDir) -> Any:
    """The process that trains, with the plug-ins of this one."""
    return start(frozen, run.path, [plugin.reference for plugin in loaded()])


def train_to_the_end(frozen: Path, run: RunDir) -> None:
    """Raises `RunError` when the process fails."""
    with begun(frozen, run) as process:
        process.join()
    if process.exitcode != 0:
        output = log_of(run.path).read_text(encoding="utf-8", errors="replace")
        raise RunError(f"the run itself fails:\n{output.strip()[-2000:]}")


def train_with_kills(
    frozen: Path, run: RunDir, seconds: float, steps: int, dice: random.Random, say: Callable[[str], None]
) -> int:
    """Kill the run at random moments of its training (first by SIGTERM, then by SIGKILL), and let it go on each time.

    `seconds` and `steps` are those of the whole run. Returns how often it will have gone on from a checkpoint in the
    middle: a kill before the first or after the last step proves nothing.
    """
    hits = 0
    for _ in range(ATTEMPTS):
        number = signal.SIGTERM if hits == 0 else signal.SIGKILL
        with begun(frozen, run) as process:
            wait_until_training(run, process)
            process.join(dice.uniform(0.0, seconds / (KILLS + 1)))
            if process.is_alive():
                os.kill(process.pid, number)
            process.join()
        status = run.read_status()
        step = int(status.get("step") or 0)
        if status.get("state") == "finished" or step >= steps:
            break
        if step > 0:
            hits += 1
            say(f"interrupted by {number.name}; the checkpoint is of step {step} of {steps}")
        if hits == KILLS:
            break
    train_to_the_end(frozen, run)
    return hits


def wait_until_training(run: RunDir, process: Any) -> None:
    """Return when the run says that it is running (or the process is gone)."""
    while process.is_alive() and run.read_status().get("pid") != process.pid:
        time.sleep(0.01)


def compare(one: RunDir, other: RunDir) -> list[str]:
    """What differs between two finished runs: checkpoints to the bit, and metrics.csv but for its timing columns."""
    differences = []
    for path in (one.last, one.best):
        if path.exists() != (other.checkpoints / path.name).exists():
            differences.append(f"{path.name}: only one of the two has it")
        elif path.exists():
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
        return [] if same_bits(a, b) else [f"{where}: tensors differ"]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys differ"]
        return [line for key in a for line in differing(a[key], b[key], f"{where}.{key}" if where else str(key))]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in differing(x, y, f"{where}[{i}]")]
    return [] if type(a) is type(b) and repr(a) == repr(b) else [f"{where}: {a!r} and {b!r}"]


def same_bits(a: Any, b: Any) -> bool:
    """The same type, shape and bits: a NaN is equal to itself, and 0.0 is not -0.0."""
    import torch

    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for x in (a, b)))


def metrics_text(run: RunDir) -> list[list[str]]:
    """The cells of metrics.csv without the timing columns."""
    header, *lines = [line.split(",") for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    keep = [i for i, name in enumerate(header) if name not in TIMING]
    return [[cells[i] for i in keep] for cells in (header, *lines)]

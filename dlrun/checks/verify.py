"""`dlrun verify-resume`: check that an interrupted and resumed run equals an uninterrupted one bit for bit."""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.checks.worker import log_file, server_for, start
from dlrun.config.config import Config
from dlrun.errors import CheckFailed, RunError
from dlrun.plain import say
from dlrun.report.tables import format_seconds
from dlrun.run.signals import Interrupted, Signals
from dlrun.store import checkpoint as files
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from dlrun.workers.client import Server

if TYPE_CHECKING:
    from torch import Tensor

TIMING = ("epoch_seconds", "samples_per_second")
KILLS = 3
ATTEMPTS = 3 * KILLS  # some kills come before the first step and do not count


def verify_command(config: Config, *, quiet: bool) -> int:
    """Train twice in a temporary folder, once with several interruptions, and compare. Returns 0 if both are equal.

    Raises `CheckFailed` if they differ. A signal ends the check and its processes at once.
    """
    tell: Callable[[str], None] = (lambda text: None) if quiet else say
    try:
        with Signals(), server_for(config) as server, tempfile.TemporaryDirectory(prefix="dlrun-verify-") as folder:
            kills, differences = interrupted_and_whole(config, server, Path(folder), tell)
    except Interrupted as stopped:
        say(f"\nStopped by {stopped}.", file=sys.stderr)
        return stopped.exit_code
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:10])
        raise CheckFailed(f"after {kills} interruptions the result differs:\n{listed}")
    words = "weights, optimizer, random state and metrics are equal bit for bit"
    say(f"exact: after {kills} interruption{'s' if kills > 1 else ''} {words}")
    return 0


def interrupted_and_whole(
    config: Config, server: Server, folder: Path, tell: Callable[[str], None]
) -> tuple[int, list[str]]:
    """The number of interruptions of a run, and its differences from an uninterrupted one."""
    frozen = folder / "frozen.yaml"
    values = config.to_dict()
    values["run"] |= {"figures": "none"}
    frozen.write_text(Config.checked(values).to_yaml(), encoding="utf-8")
    whole, broken = RunDir(folder / "whole"), RunDir(folder / "broken")
    train_to_the_end(server, frozen, whole)
    summary = read_json(whole.summary)
    tell(f"trained without interruption in {format_seconds(summary['times']['total_seconds'])}")
    kills = train_with_kills(server, frozen, broken, summary, random.Random(config.seed), tell)
    if kills == 0:
        longer = "give it more trainer.epochs (or trainer.max_steps)."
        raise RunError(f"the run ends before it can be interrupted in the middle: {longer}")
    return kills, differences_between(whole, broken)


def train_to_the_end(server: Server, frozen: Path, run: RunDir) -> None:
    """Train a run without interruption, or resume it. Raises `RunError` if the process fails."""
    process = start(server, frozen, run)
    server.join(process)
    if process.code != 0:
        output = log_file(run.path).read_text(encoding="utf-8", errors="replace")
        raise RunError(f"the run itself fails:\n{output.strip()[-2000:]}")


def train_with_kills(
    server: Server, frozen: Path, run: RunDir, summary: dict[str, Any], dice: random.Random, tell: Callable[[str], None]
) -> int:
    """Kill the run at random moments of its training, first by SIGTERM, then by SIGKILL, and resume it each time.

    `summary` is that of the whole run. Returns how often it will have gone on from a checkpoint in the middle: a kill
    before the first or after the last step proves nothing.
    """
    seconds, steps, hits = summary["times"]["total_seconds"], summary["counts"]["steps"], 0
    for _ in range(ATTEMPTS):
        number = signal.SIGTERM if hits == 0 else signal.SIGKILL
        process = start(server, frozen, run)
        while not server.join(process, 0.01) and run.read_status().get("pid") != process.pid:
            pass  # it does not train yet
        server.join(process, dice.uniform(0.0, seconds / (KILLS + 1)))
        process.send(number)
        server.join(process)
        status = run.read_status()
        step = int(status.get("step") or 0)
        if status.get("state") == "finished" or step >= steps:
            break
        if step > 0:
            hits += 1
            tell(f"interrupted by {number.name}; the checkpoint is of step {step} of {steps}")
        if hits == KILLS:
            break
    train_to_the_end(server, frozen, run)
    return hits


def differences_between(one: RunDir, other: RunDir) -> list[str]:
    """The differences between the checkpoints (bit for bit) and metrics.csv (without timing) of two finished runs."""
    differences = []
    for path in (one.last, one.best):
        if path.exists() != (other.checkpoints / path.name).exists():
            differences.append(f"{path.name}: only one of the two has it")
        elif path.exists():
            a, b = files.read_checkpoint(path), files.read_checkpoint(other.checkpoints / path.name)
            differences += [f"{path.name}: {line}" for line in differing(a, b) if not may_differ(line)]
    if metrics_text(one) != metrics_text(other):
        differences.append("metrics.csv differs")
    return differences


def may_differ(line: str) -> bool:
    """Whether a difference is one of directories or durations, which always differ."""
    return line.startswith(("config.", "history.values", "seconds.", "sums.seconds", "sums.waited", "best.row"))


def differing(a: object, b: object, where: str = "") -> list[str]:
    """The keys under which two checkpoints differ, with what differs."""
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


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether dtype, shape and bits are equal. NaN equals itself, and 0.0 differs from -0.0."""
    import torch

    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for x in (a, b)))


def metrics_text(run: RunDir) -> list[list[str]]:
    """The cells of metrics.csv without the timing columns."""
    header, *lines = [line.split(",") for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    keep = [i for i, name in enumerate(header) if name not in TIMING]
    return [[cells[i] for i in keep] for cells in (header, *lines)]

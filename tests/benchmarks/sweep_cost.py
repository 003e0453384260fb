"""What 84 short runs cost as a dlrun sweep, and with what people use instead, side by side.

    python tests/benchmarks/sweep_cost.py [--peers PYTHON] [--rounds 1] [--epochs 20] [--only NAME ...]

4 optimizers, 7 learning rates and 3 seeds, each 20 epochs of a small perceptron on digits. dlrun writes what it always
writes; the others call one plain PyTorch function (plain_sweep.py) 84 times: Hydra's basic launcher and Optuna's loop
one after another in one process, hydra-joblib-launcher and Ray Tune in as many processes as there are processors.
PYTHON is the interpreter of the peers' environment (README.md); without it they run in this one, and those that are
not installed are left out.

The programs take turns within a round; medians over the rounds are printed. Seconds are those of the whole command,
start and report included. CPU seconds are those of all processes that it has started, daemons too (Linux). A program
that fails is left out of the table. What a further run costs is the difference between sweeps of 84 and of 28 runs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from plain_sweep import OPTIMIZERS, RATES, RUNS, SEEDS

HERE = Path(__file__).resolve().parent
PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans of a command become children of this process, which can count them
DLRUN = {"dlrun": [], "dlrun run.figures=none": ["run.figures=none"]}
PEERS = {
    "hydra": "Hydra, basic launcher",
    "joblib": "Hydra, joblib launcher",
    "optuna": "Optuna, its own loop",
    "ray": "Ray Tune",
}


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    wall: float
    cpu: float
    training: float = 0.0  # seconds of training and evaluation in all runs, if the program notes them


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cost(command: Sequence[str], folder: Path) -> Cost:
    """Run a command in a folder, and wait for all processes that it leaves behind."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = inherited | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    before, started = cpu_of_children(), time.perf_counter()
    with open(folder / "output.txt", "w") as output:
        code = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, check=False
        ).returncode
    wall = time.perf_counter() - started
    wait_for_orphans()
    if code:
        raise RuntimeError(f"{' '.join(command[:3])} ended with {code}:\n{(folder / 'output.txt').read_text()[-2000:]}")
    return Cost(wall, cpu_of_children() - before)


def wait_for_orphans(seconds: float = 20.0) -> None:
    """Wait for the processes that a command has left behind, which end a moment after it."""
    until = time.monotonic() + seconds
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)


def cpu_of_children() -> float:
    """The CPU seconds of the processes that have ended and were waited for, here or by those."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def dlrun(words: Sequence[str], epochs: int, seeds: Sequence[int] = SEEDS) -> Cost:
    """The sweep as dlrun's own."""
    lists = {"optimizer": OPTIMIZERS, "optimizer.lr": RATES, "seed": seeds}
    swept = [f"{key}={','.join(map(str, values))}" for key, values in lists.items()]
    with tempfile.TemporaryDirectory(prefix="dlrun_bench_") as name:
        command = [sys.executable, "-m", "dlrun", "-m", "device=cpu", f"trainer.epochs={epochs}", *swept, *words]
        spent = cost(command, Path(name))
        times = [json.loads(file.read_text())["times"] for file in Path(name).rglob("summary.json")]
        assert len(times) == len(OPTIMIZERS) * len(RATES) * len(seeds), "not every run has finished"
        return Cost(spent.wall, spent.cpu, sum(each["train_seconds"] + each["eval_seconds"] for each in times))


def peer(name: str, python: str, epochs: int) -> Cost:
    """The sweep as another program's."""
    with tempfile.TemporaryDirectory(prefix="dlrun_bench_") as folder:
        command = [python, str(HERE / "plain_sweep.py"), name, folder, str(epochs), str(processors())]
        spent = cost(command, Path(folder))
        assert len(list(Path(folder).rglob("accuracy.json"))) == RUNS, "not every run has finished"
        return spent


def noted(name: str, spent: Cost) -> Cost:
    """The cost, which is shown at once: a round takes minutes."""
    print(f"{name:24} {spent.wall:6.1f} s {spent.cpu:6.1f} s of CPU", file=sys.stderr, flush=True)
    return spent


def installed(name: str, python: str) -> bool:
    """Whether that environment has what a peer needs."""
    needed = {"hydra": "hydra", "joblib": "hydra_plugins.hydra_joblib_launcher", "optuna": "optuna", "ray": "ray.tune"}
    code = f"import {needed[name]}, torch, sklearn"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def lines(costs: dict[str, list[Cost]]) -> Iterator[str]:
    """The table: median seconds, CPU seconds a run, and how many times as much as dlrun."""
    yield f"| {RUNS} runs on digits | seconds | CPU seconds a run | times dlrun's seconds | times its CPU |"
    yield "| --- | --- | --- | --- | --- |"
    middle = {name: (median(c.wall for c in some), median(c.cpu for c in some)) for name, some in costs.items() if some}
    base = next(iter(middle.values()))
    for name, (wall, cpu) in middle.items():
        yield f"| {name} | {wall:.1f} | {cpu / RUNS:.3f} | {wall / base[0]:.2f} | {cpu / base[1]:.2f} |"


def further(many: Sequence[Cost], few: Sequence[Cost]) -> str:
    """What a run adds to a sweep of dlrun, and how much of it is not training or evaluation."""
    more = RUNS - RUNS // len(SEEDS)
    cpu = median(a.cpu - b.cpu for a, b in zip(many, few, strict=True)) / more
    training = median(a.training for a in many) / RUNS
    words = f"training and evaluation take {training:.3f} s by the wall clock"
    return f"A further run without figures costs dlrun {cpu:.3f} s of CPU; {words}."


def main() -> None:
    """Measure all, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", default=sys.executable, help="the interpreter of the peers' environment")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(PEERS), choices=list(PEERS), help="these peers alone")
    asked = parser.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peers = [name for name in asked.only if installed(name, asked.peers)]
    costs: dict[str, list[Cost]] = {name: [] for name in [*DLRUN, *(PEERS[peer] for peer in peers)]}
    few: list[Cost] = []
    for _ in range(asked.rounds):
        for name, words in DLRUN.items():
            costs[name].append(noted(name, dlrun(words, asked.epochs)))
        few.append(dlrun(["run.figures=none"], asked.epochs, SEEDS[:1]))
        for name in peers:
            try:
                costs[PEERS[name]].append(noted(PEERS[name], peer(name, asked.peers, asked.epochs)))
            except (RuntimeError, AssertionError) as error:
                print(f"{PEERS[name]}: {error}", file=sys.stderr)
    print(f"{processors()} processors, load {os.getloadavg()[0]:.1f} at the end, medians of {asked.rounds} round(s)\n")
    print("\n".join(lines(costs)))
    print(f"\n{further(costs['dlrun run.figures=none'], few)}")
    for name in asked.only:
        if name not in peers:
            print(f"{PEERS[name]}: not installed there")
        elif not costs[PEERS[name]]:
            print(f"{PEERS[name]}: failed in every round")


if __name__ == "__main__":
    main()

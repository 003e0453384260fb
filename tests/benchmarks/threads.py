"""Two threads against one on busy processors, and `device.threads=auto` against plain two threads on idle ones.

    python tests/benchmarks/threads.py --root DATA [--rounds 3] [--tasks digits_mlp mnist_mlp]

Everything is pinned to two cores, which should be idle: the script says how busy they were. The programs take turns,
and a ratio is formed within a round.

* busy, in this process: 8 others compute without end on the two cores. The speed of `device.threads=2` as a share of
  that of `device.threads=1`; it is to be at least 0.35 on digits_mlp and mnist_mlp, and 0.5 on mnist_cnn.
* idle, in fresh processes: the speed of `device.threads=auto` as a share of that of two threads which wait for each
  other as libgomp does by itself (`GOMP_SPINCOUNT=300000`). Where auto takes two, it is to be at least 0.95.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import TASKS
from process import ONE_THREAD, WORDS, Setting, run_dlrun

CORES = 2
BUSY = 8  # processes
EPOCHS = {"digits_mlp": 150, "mnist_mlp": 5, "mnist_cnn": 3, "names_gru": 3}
BUSY_EPOCHS = {"digits_mlp": 30, "mnist_mlp": 3, "mnist_cnn": 2, "names_gru": 1}
WANTED = {"digits_mlp": 0.35, "mnist_mlp": 0.35, "mnist_cnn": 0.5}
ENDLESS = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"  # ends with its parent
LIBGOMP = {"GOMP_SPINCOUNT": "300000"}  # what it takes itself where threads are no more than processors
NOT_OURS = (*ONE_THREAD, "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@dataclass(frozen=True)
class Free(Setting):
    """As many threads as the command asks for, and these variables."""

    variables: tuple[tuple[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in super().environment().items() if key not in NOT_OURS}
        return inherited | dict(self.variables)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the data root, with MNIST and names")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--limit", type=int, default=6_400, help="rows of MNIST that an epoch has")
    parser.add_argument("--only", choices=("busy", "idle"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        sys.exit(f"{CORES} cores are needed, and this process may use {len(cores)}.")
    os.sched_setaffinity(0, cores)
    for name in NOT_OURS:  # read when torch is imported, and by child processes
        os.environ.pop(name, None)
    os.environ["DLRUN_DATA"] = str(options.root.resolve())
    setting = Free(options.root.resolve(), None, options.limit)
    plain = Free(options.root.resolve(), None, options.limit, variables=tuple(LIBGOMP.items()))
    print(f"cores {cores}: {others():.0%} busy with other programs before the first run")
    for task in options.tasks:
        if options.only != "idle":
            words = WORDS[task].format(limit=options.limit).split()
            ratios = busy_ratios(words, BUSY_EPOCHS[task], options.rounds)
            told(f"{task:10}  busy: two threads / one", ratios, WANTED.get(task))
        if options.only != "busy":
            chosen = auto_of(task, setting)
            ratios = [ratio(task, ("auto", setting), (2, plain)) for _ in range(options.rounds)]
            told(f"{task:10}  idle: auto ({chosen}) / plain two", ratios, 0.95 if chosen == 2 else None)


Program = tuple[object, Setting]  # device.threads, and where


def busy_ratios(words: list[str], epochs: int, rounds: int) -> list[float]:
    """The speeds of two threads as a share of one's, in turns: two, one, one, two. The first runs warm up."""
    import dlrun

    def speed(threads: int) -> float:
        with tempfile.TemporaryDirectory(prefix="dlrun_bench_") as folder:
            own = [f"trainer.epochs={epochs}", "device=cpu", f"device.threads={threads}", f"run.dir={folder}/run"]
            dlrun.train([*words, *own])
            rows = (Path(folder) / "run" / "metrics.csv").read_text().splitlines()
            place = rows[0].split(",").index("samples_per_second")
            return median(float(row.split(",")[place]) for row in rows[1:])

    for threads in (1, 2):
        speed(threads)
    with busy():
        pairs = [[speed(threads) for threads in (2, 1, 1, 2)] for _ in range(rounds)]
    return [(first + last) / (one + other) for first, one, other, last in pairs]


def ratio(task: str, one: Program, other: Program) -> float:
    """The speed of one program as a share of the other's, measured in turns: one, other, other, one."""
    speeds: dict[int, list[float]] = {0: [], 1: []}
    for place in (0, 1, 1, 0):
        threads, setting = (one, other)[place]
        result = run_dlrun(task, [f"trainer.epochs={EPOCHS[task]}", "device=cpu", f"device.threads={threads}"], setting)
        if not result.speed:
            sys.exit(f"{task}: {result.failure}")
        speeds[place].append(result.speed)
    return sum(speeds[0]) / sum(speeds[1])


def auto_of(task: str, setting: Setting) -> int:
    """What `device.threads=auto` is for this task, as the header of a run of one step says."""
    words = [*WORDS[task].format(limit=setting.limit).split(), "device=cpu", "trainer.max_steps=1", "trainer.epochs=1"]
    command = [sys.executable, "-m", "dlrun", *words, "run.dir=run"]
    with tempfile.TemporaryDirectory(prefix="dlrun_bench_") as folder:
        shown = subprocess.run(
            command, env=setting.environment(), cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"cpu \((\d+) thread", shown)
    assert found is not None, shown
    return int(found[1])


@contextmanager
def busy() -> Iterator[None]:
    """Processes that compute without end on the same cores."""
    processes = [subprocess.Popen([sys.executable, "-c", ENDLESS]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def others(seconds: float = 2.0) -> float:
    """How busy all cores of the machine are while this process sleeps (Linux)."""

    def ticks() -> tuple[int, int]:
        numbers = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers) - numbers[3] - numbers[4], sum(numbers)

    before = ticks()
    time.sleep(seconds)
    now = ticks()
    return (now[0] - before[0]) / max(1, now[1] - before[1])


def told(what: str, ratios: list[float], wanted: float | None) -> None:
    """A line: the median ratio, the least and the most, and what it is to be."""
    words = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    goal = "" if wanted is None else f", at least {wanted}: {'yes' if median(ratios) >= wanted else 'no'}"
    print(f"{what:42}  {words}{goal}", flush=True)


if __name__ == "__main__":
    main()

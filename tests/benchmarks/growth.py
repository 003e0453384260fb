"""How dlrun's cost grows: with the width of the model, the batch, the data; and what a checkpoint costs."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from process import Result, Setting, run_dlrun
from table import markdown_table

WIDTHS = (64, 128, 256, 512, 1024)
BATCHES = (16, 64, 256, 1024)
ROWS = (7_500, 15_000, 30_000, 60_000)
SAMPLES = (1_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000)  # made in memory; a file is read whole
POINTS = ["dataset.val_fraction=0", "dataset.test_fraction=0", "trainer.batch_size=4096"]
BASE = "mnist_mlp"


def report(setting: Setting) -> str:
    """Three tables: one line a run of mnist_mlp, one thing changed at a time."""
    parts = ["Cost of mnist_mlp with one thing changed at a time; one core, one thread.\n"]
    widths = [(str(n), [f"model.hidden=[{n},{n}]"], setting.limit) for n in WIDTHS]
    parts.append(table_of("hidden width", widths, setting))
    batches = [(str(n), [f"trainer.batch_size={n}"], setting.limit) for n in BATCHES]
    parts.append(table_of("batch size", batches, setting))
    rows = [(f"{n:,}", [], n) for n in ROWS]
    parts.append(table_of("rows of MNIST", rows, setting))
    points = [(f"{n:,}", [f"dataset.samples={n}", *POINTS], n) for n in SAMPLES]
    parts.append(table_of("made points", points, setting, task="dataset=moons", over_first=True))
    parts.append(run_from_disk(setting))
    return "\n".join(parts)


def table_of(
    what: str, runs: list[tuple[str, list[str], int]], setting: Setting, task: str = BASE, over_first: bool = False
) -> str:
    """Microseconds a sample, seconds an epoch, peak memory; and each against the line before.

    `over_first`: the first line is of next to no data, and memory is counted from there.
    """
    lines: list[list[str]] = []
    first: float | None = None
    before: tuple[float, float] | None = None
    for label, words, limit in runs:
        result = run_dlrun(task, [*words, "trainer.epochs=3"], replace(setting, limit=limit))
        if result.failure or not result.speed:
            lines.append([label, f"failed: {result.failure}", "", "", ""])
            continue
        print(f"{what} {label}: {result.speed:,.0f} samples/s, {result.memory_mib:,.0f} MiB", flush=True)
        if over_first and first is None:
            first = result.memory_mib
            lines.append([label, f"{1e6 / result.speed:.1f}", "", f"{first:,.0f}", ""])
            continue
        seconds, memory = limit / result.speed, result.memory_mib - (first or 0.0)
        cells = [label, f"{1e6 / result.speed:.1f}", f"{seconds:.2f}", f"{'+' * over_first}{memory:,.0f}"]
        lines.append([*cells, "" if before is None else grown((seconds, memory), before, over_first)])
        before = seconds, memory
    return markdown_table([what, "us a sample", "s an epoch", "peak MiB", "against the line before"], lines)


def grown(now: tuple[float, float], before: tuple[float, float], over_first: bool) -> str:
    """Time, and memory, against the line before."""
    if over_first:
        return f"{now[0] / before[0]:.2f}, memory {now[1] / before[1]:.2f}"
    return f"{now[0] / before[0]:.2f}, {now[1] - before[1]:+,.0f} MiB"


def run_from_disk(setting: Setting) -> str:
    """The same data read row by row through DataLoader, as when it does not fit memory."""
    words = ["trainer.epochs=2"]
    resident = run_dlrun(BASE, words, setting)
    loaded = run_dlrun(BASE, [*words, "dataset.in_memory=false", "dataset.workers=0"], setting)
    rows = [[name, speed_of(result)] for name, result in (("in memory", resident), ("DataLoader", loaded))]
    return markdown_table(["rows come from", "samples a second"], rows)


def speed_of(result: Result) -> str:
    return result.failure or f"{result.speed or 0:,.0f}"


def checkpoint_report(setting: Setting, rounds: int) -> str:
    """What a checkpoint at the end of each epoch of mnist_mlp, all 60,000 rows, adds to the epoch's training."""
    full = Setting(setting.root, setting.core, 60_000)
    lines = []
    for number in range(rounds):
        words = ["trainer.epochs=5", "checkpoint.every_epochs=1"]
        result = run_dlrun(BASE, words, full)
        if result.failure or not result.speed:
            return f"failed: {result.failure}\n"
        save = median(result.saves)
        epoch = full.limit / result.speed - save  # the clock counts the checkpoint, too
        lines.append([str(number + 1), f"{epoch:.2f}", f"{1000 * save:.1f}", f"{save / epoch:.2%}"])
        print("round", *lines[-1], flush=True)
    head = ["round", "s an epoch", "ms a checkpoint", "share"]
    return "One checkpoint an epoch on mnist_mlp (medians).\n\n" + markdown_table(head, lines)

"""How dlrun's cost grows: with the width of the model, the batch, the data; and what a checkpoint costs."""

from __future__ import annotations

from statistics import median

from process import Result, Setting, run_dlrun
from table import markdown_table

WIDTHS = (64, 128, 256, 512, 1024)
BATCHES = (16, 64, 256, 1024)
ROWS = (7_500, 15_000, 30_000, 60_000)
SAMPLES = (500_000, 1_000_000, 2_000_000, 4_000_000)  # made in memory: what is read from a file is read whole
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
    parts.append(table_of("made points", points, setting, task="dataset=moons"))
    parts.append(run_from_disk(setting))
    return "\n".join(parts)


def table_of(what: str, runs: list[tuple[str, list[str], int]], setting: Setting, task: str = BASE) -> str:
    """Microseconds a sample, seconds an epoch, peak memory; and each against the line before."""
    lines: list[list[str]] = []
    before: tuple[float, float] | None = None
    for label, words, limit in runs:
        here = Setting(setting.root, setting.core, limit)
        result = run_dlrun(task, [*words, "trainer.epochs=3"], here)
        if result.failure or not result.speed:
            lines.append([label, f"failed: {result.failure}", "", "", ""])
            continue
        seconds, memory = limit / result.speed, result.memory_mib
        grown = "" if before is None else f"{seconds / before[0]:.2f}, {memory - before[1]:+,.0f} MiB"
        lines.append([label, f"{1e6 / result.speed:.1f}", f"{seconds:.2f}", f"{memory:,.0f}", grown])
        before = seconds, memory
        print(f"{what} {label}: {result.speed:,.0f} samples/s, {memory:,.0f} MiB", flush=True)
    return markdown_table([what, "us a sample", "s an epoch", "peak MiB", "against the line before"], lines)


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
        result = run_dlrun(BASE, words, full, noted=True)
        if result.failure or not result.speed:
            return f"failed: {result.failure}\n"
        epoch, save = full.limit / result.speed, median(result.saves)
        lines.append([str(number + 1), f"{epoch:.2f}", f"{1000 * save:.1f}", f"{save / epoch:.2%}"])
        print("round", *lines[-1], flush=True)
    head = ["round", "s an epoch", "ms a checkpoint", "share"]
    return "One checkpoint an epoch on mnist_mlp (medians).\n\n" + markdown_table(head, lines)

"""How dlrun's cost grows: with the width of the model, the batch, the data; and what a checkpoint costs."""

from __future__ import annotations

from statistics import median

from process import WORDS, Result, Setting, run_dlrun
from table import markdown_table

WIDTHS = (64, 128, 256, 512, 1024)
BATCHES = (16, 64, 256, 1024)
ROWS = (7_500, 15_000, 30_000, 60_000)
BASE = "mnist_mlp"


def report(setting: Setting) -> str:
    """Three tables: one line a run of mnist_mlp, one thing changed at a time."""
    parts = ["Cost of mnist_mlp with one thing changed at a time; one core, one thread.\n"]
    widths = [(str(n), [f"model.hidden=[{n},{n}]"], setting.limit) for n in WIDTHS]
    parts.append(table_of("hidden width", widths, setting))
    batches = [(str(n), [f"trainer.batch_size={n}"], setting.limit) for n in BATCHES]
    parts.append(table_of("batch size", batches, setting))
    rows = [(f"{n:,}", [], n) for n in ROWS]
    parts.append(table_of("rows", rows, setting))
    parts.append(run_from_disk(setting))
    return "\n".join(parts)


def table_of(what: str, runs: list[tuple[str, list[str], int]], setting: Setting) -> str:
    """Microseconds a sample, seconds an epoch, peak memory; and each against the line before."""
    lines: list[list[str]] = []
    before: tuple[float, float] | None = None
    for label, words, limit in runs:
        here = Setting(setting.root, setting.core, limit)
        result = run_dlrun(BASE, [*words, "trainer.epochs=3"], here)
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
    """What a checkpoint at the end of each epoch adds to the wall time of mnist_mlp, all 60,000 rows.

    The whole process is timed with and without, in turns; the epochs' own training time is what it is a share of.
    """
    full = Setting(setting.root, setting.core, 60_000)
    epochs = 6
    costs, shares = [], []
    for number in range(rounds):
        with_it = run_dlrun(BASE, [f"trainer.epochs={epochs}", "checkpoint.every_epochs=1"], full)
        words = [f"trainer.epochs={epochs}", "checkpoint.every_epochs=null", "checkpoint.every_minutes=null"]
        without = run_dlrun(BASE, words, full)
        if not with_it.speed or not without.speed:
            return f"failed: {with_it.failure or without.failure}\n"
        trained = epochs * 60_000 / without.speed
        costs.append((with_it.seconds - without.seconds) / epochs)
        shares.append((with_it.seconds - without.seconds) / trained)
        print(f"round {number + 1}/{rounds}: {1000 * costs[-1]:.0f} ms, {shares[-1]:.1%}", flush=True)
    line = f"{1000 * median(costs):.0f} ms a checkpoint, {median(shares):.2%} of the training time"
    spread = f"(rounds: {min(shares):.2%} to {max(shares):.2%})"
    return f"One checkpoint an epoch on {WORDS[BASE].split()[0]}: {line} {spread}.\n"

"""The benchmark's results as markdown and as a plot of ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from process import Result

Rounds = dict[tuple[str, str], list[Result]]  # (name, task): one result a round


@dataclass(frozen=True)
class Ratio:
    """Speed against the textbook loop's in the same round."""

    least: float
    middle: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(rounds: Rounds, name: str, task: str, base: str = "textbook") -> Ratio | None:
    """The ratios of all rounds in which both ran."""
    pairs = zip(rounds.get((name, task), []), rounds.get((base, task), []), strict=False)
    values = [ours.speed / theirs.speed for ours, theirs in pairs if ours.speed and theirs.speed]
    return Ratio(min(values), median(values), max(values)) if values else None


def best(rounds: Rounds, name: str, task: str) -> float | None:
    """The fastest round, in samples a second: what the machine can do when nothing else runs."""
    speeds = [result.speed for result in rounds.get((name, task), []) if result.speed]
    return max(speeds) if speeds else None


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of words."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def speed_table(rounds: Rounds, names: Sequence[str], tasks: Sequence[str]) -> str:
    """Ratios: median, least and most."""
    rows = []
    for name in names:
        cells = [str(ratio(rounds, name, task) or failure(rounds, name, task)) for task in tasks]
        rows.append([name, *cells])
    for name in ("dlrun", "dlrun_compiled"):
        against = [ratio(rounds, name, task, base="lightning") for task in tasks]
        if any(against):
            rows.append([f"{name} against lightning", *(str(value or "not run") for value in against)])
    fastest = [f"{best(rounds, 'textbook', task) or 0:,.0f} samples a second" for task in tasks]
    return markdown_table(["", *tasks], [*rows, ["textbook, fastest round", *fastest]])


def failure(rounds: Rounds, name: str, task: str) -> str:
    """Why there is no number."""
    words = [result.failure for result in rounds.get((name, task), []) if result.failure]
    return f"failed: {words[0][:60]}" if words else "not run"


def memory_table(rounds: Rounds, names: Sequence[str], tasks: Sequence[str]) -> str:
    """Peak resident memory of the whole process, MiB: the least of the rounds."""
    rows = []
    for name in names:
        results = [rounds.get((name, task), []) for task in tasks]
        found = [[r.memory_mib for r in column if not r.failure] for column in results]
        rows.append([name, *(f"{min(column):,.0f}" if column else "" for column in found)])
    return markdown_table(["peak memory, MiB", *tasks], rows)


def start_table(starts: dict[str, list[Result]]) -> str:
    """Seconds from the start of the process to the end of the first step: least and median."""
    rows = []
    for name, results in starts.items():
        seconds = [result.start for result in results if result.start is not None]
        rows.append([name, f"{min(seconds):.2f}" if seconds else "", f"{median(seconds):.2f}" if seconds else ""])
    return markdown_table(["process start to first step, s", "least", "median"], rows)


def plot(rounds: Rounds, names: Sequence[str], tasks: Sequence[str], path: Path) -> None:
    """Bars of median ratios with their range, a group a task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(2 + 2 * len(tasks), 4.5), layout="constrained")
    names = [name for name in names if any(ratio(rounds, name, task) for task in tasks)]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        found = [(j, ratio(rounds, name, task)) for j, task in enumerate(tasks)]
        bars = [(j, value) for j, value in found if value is not None]
        places = [j + (i - (len(names) - 1) / 2) * width for j, _ in bars]
        low = [value.middle - value.least for _, value in bars]
        high = [value.most - value.middle for _, value in bars]
        heights = [value.middle for _, value in bars]
        axes.bar(places, heights, width, yerr=[low, high], label=name, capsize=2)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_ylabel("training speed / textbook loop")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=130)
    plt.close(figure)

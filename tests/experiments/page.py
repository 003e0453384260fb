"""docs/experiments.md, written from finished run directories: the table, a section an experiment, plots beside it."""

from __future__ import annotations

import math
import re
from pathlib import Path

from .figures import json_of
from .running import command, runs_of
from .table import CASES, Case, Figure

HEAD = """\
# The reference experiments, run

Printed by `python -m tests.experiments`, which runs every experiment with the commands that stand under it and reads
every figure from the run directory; nothing here is typed by hand. "Reference" is what the exercise that an
experiment was made after, or a plain PyTorch program, reaches; the band is what dlrun's figure must lie in (`pytest
-m full` asserts it): dlrun draws initial weights and batches from random streams of its own, so that one seed's
figure is not the reference's to the last digit. Figures of several seeds are given as their mean and range. Results
on test are those of the last epoch, as in the reference; where a validation part selects an epoch, those of the
selected one. Times are of one thread of a machine that others used, too: an order of magnitude.
"""
COLOURS = 64  # of a plot's palette: enough for lines and text


def write_page(folder: Path, place: Path) -> Path:
    """Write FOLDER/experiments.md and FOLDER/experiments/*.png from the runs under `place`."""
    plots = folder / "experiments"
    plots.mkdir(parents=True, exist_ok=True)
    done = {case.key: runs_of(case, place / case.key) for case in CASES}
    table = ["| experiment | figure | reached | reference | band | |", "|---|---|---|---|---|---|"]
    for case in CASES:
        table += [row(case, figure, done[case.key]) for figure in case.figures]
    sections = []
    for preset in dict.fromkeys(case.preset for case in CASES):
        sections += ["", f"## {preset}", "", description(preset)]
        sections += [section(case, done[case.key], place / case.key, plots) for case in CASES if case.preset == preset]
    path = folder / "experiments.md"
    path.write_text("\n".join([HEAD, circumstances(done), "", *table, *sections]).rstrip() + "\n", encoding="utf-8")
    return path


def row(case: Case, figure: Figure, runs: list[Path]) -> str:
    """A line of the table: what was reached, and whether it lies in the band."""
    values = values_of(figure, runs)
    band = f"{words(figure, figure.low)} to {words(figure, figure.high)}"
    verdict = "not run" if not values else "yes" if in_band(figure, values) else "**no**"
    name = " ".join([f"[`{case.preset}`](#{case.preset})", *(f"`{word}`" for word in case.variant)])
    cells = [name, figure.what, reached(figure, values), figure.reference, band, verdict]
    return "| " + " | ".join(cells) + " |"


def values_of(figure: Figure, runs: list[Path]) -> list[float]:
    """The figure of every run that it is about."""
    return [figure.read(run) for run in runs if not figure.job or run.name == figure.job]


def in_band(figure: Figure, values: list[float]) -> bool:
    """Does the mean lie in the band?"""
    return figure.low <= sum(values) / len(values) <= figure.high


def reached(figure: Figure, values: list[float]) -> str:
    """A value, or the mean of several with their range."""
    if not values:
        return "-"
    mean = words(figure, sum(values) / len(values))
    if len(values) == 1:
        return mean
    return f"{mean}; {words(figure, min(values))} to {words(figure, max(values))} with {len(values)} seeds"


def words(figure: Figure, value: float) -> str:
    """A number as the figure is written."""
    return "never" if math.isinf(value) else format(value, figure.form).replace("%", " %")


def section(case: Case, runs: list[Path], place: Path, plots: Path) -> str:
    """A command, how long it took, and its plots."""
    lines = ["", f"    {command(case)}", ""]
    if case.remark:
        lines.append(f"({case.remark.capitalize()}.)")
    if runs:
        lines.append(f"Took {duration(runs)}.")
    pictures = [shrunk(source, plots / f"{case.key}-{name}") for name in case.plots if (source := find(place, name))]
    lines += ["", " ".join(f"![{path.stem}](experiments/{path.name})" for path in pictures)] if pictures else []
    return "\n".join(lines)


def description(preset: str) -> str:
    """What the experiment's file says of itself: what it shows, and what to expect."""
    from dlrun.config.schema.schema import config_dirs, read_schema

    option = read_schema(config_dirs(search_cwd=False)).options("experiment")[preset]
    return f"{option.description} Expect: {option.headers['expect']}."


def duration(runs: list[Path]) -> str:
    """The time that the runs took together, from their summaries."""
    times = [json_of(run / "summary.json")["times"] for run in runs]
    whole, training = (sum(time[key] for time in times) for key in ("total_seconds", "train_seconds"))
    return f"{whole:.1f} s in all, {training:.1f} s of it training" + (f", {len(runs)} runs" if len(runs) > 1 else "")


def find(place: Path, name: str) -> Path | None:
    """A plot of the run, of the sweep, or of the sweep's first job."""
    found = [place / name, *sorted(place.glob(f"jobs/*/{name}"))]
    return next((path for path in found if path.exists()), None)


def shrunk(source: Path, target: Path) -> Path:
    """A copy of a picture that is small in bytes: a palette of `COLOURS`, chosen so that no line loses its own."""
    from PIL import Image

    with Image.open(source) as picture:
        image = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(target, optimize=True)
    return target


def circumstances(done: dict[str, list[Path]]) -> str:
    """On what the runs were made: read from their environment.json."""
    facts = [json_of(run / "environment.json") for runs in done.values() for run in runs]
    versions = sorted({str(fact.get("versions", {}).get("torch", "")) for fact in facts} - {""})
    devices = sorted({re.sub(r"\s+", " ", str(fact.get("device", ""))) for fact in facts} - {""})
    return f"Made with torch {', '.join(versions)} on: {', '.join(devices)}." if facts else "Nothing was run yet."

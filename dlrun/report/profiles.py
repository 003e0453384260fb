"""Performance profiles: how options do over several workloads, by the time to each workload's target.

For an option on a workload t is the median of the optimizer steps until its runs reached the target (infinite where
fewer than half did), and r is t over the least t of any option there. The profile of an option at tau is the share of
the workloads on which its r is at most tau; its score is the area below that from 1 to 4, divided by 3.

Dolan and More, "Benchmarking optimization software with performance profiles", 2002; Dahl et al., "Benchmarking neural
network training algorithms" (AlgoPerf), 2023 (arXiv:2306.07179).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.report import style
from dlrun.report.stats import RunGroup
from dlrun.report.tables import Table, format_value

if TYPE_CHECKING:
    from dlrun.report.comparison import Comparison

PROFILES_FILE, PROFILES_FIGURE = "profiles.csv", "profiles.png"
LAST_TAU = 4.0


@dataclass(frozen=True)
class Profile:
    """One option over all workloads, by their names: median steps to the target, their ratios, shares that reached."""

    option: str
    steps: dict[str, float]
    ratios: dict[str, float]
    shares: dict[str, float]

    def at(self, tau: float) -> float:
        """The share of the workloads on which the ratio is at most tau."""
        return sum(ratio <= tau for ratio in self.ratios.values()) / len(self.ratios)

    @property
    def score(self) -> float:
        """The area below the profile from 1 to `LAST_TAU`, as a share."""
        room = LAST_TAU - 1
        return math.fsum(max(0.0, LAST_TAU - ratio) / room for ratio in self.ratios.values()) / len(self.ratios)

    @property
    def geometric_mean(self) -> float | None:
        """That of the ratios; None where a target was not reached."""
        ratios = self.ratios.values()
        if not all(map(math.isfinite, ratios)):
            return None
        return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))


def profiles(parts: Sequence[tuple[str, Comparison]]) -> list[Profile]:
    """The profile of each option, the best score first; empty where a workload has no target."""
    if not parts or any(part.target is None for _, part in parts):
        return []
    found: dict[str, dict[str, RunGroup]] = {}
    for name, part in parts:
        for group in part.groups:
            found.setdefault(option_name(part, group), {}).setdefault(name, group)  # the best-ranked of several
    steps = {
        option: {name: steps_of(groups.get(name)) for name, _ in parts} for option, groups in found.items()
    }  # fmt: skip
    least = {name: min(row[name] for row in steps.values()) for name, _ in parts}
    rows = []
    for option, row in steps.items():
        ratios = {n: t / max(least[n], 1.0) if math.isfinite(t) else math.inf for n, t in row.items()}
        times = {name: found[option][name].reached for name in row if name in found[option]}
        rows.append(Profile(option, row, ratios, {name: time.share for name, time in times.items() if time}))
    return sorted(rows, key=lambda one: -one.score)


def steps_of(group: RunGroup | None) -> float:
    """The median steps to the target; infinite where fewer than half of the runs reached it."""
    times = group.reached if group else None
    return math.inf if times is None or times.median is None or times.median.steps is None else times.median.steps


def option_name(part: Comparison, group: RunGroup) -> str:
    """The swept values of a group that were not tuned: `adam`."""
    tuned = {key for row in group.rows for key in row.source.row.tuned}
    words = [format_value(value) for key, value in group.keys.items() if key not in tuned and value != ""]
    return " ".join(words) or "the one option"


def profile_table(found: Sequence[Profile]) -> Table:
    """A row for each option: score, geometric mean, and for each workload the ratio and the median steps."""
    names = list(found[0].ratios)
    rows = []
    for one in found:
        mean = one.geometric_mean
        cells = [ratio_cell(one, name) for name in names]
        rows.append([one.option, f"{one.score:.3g}", "" if mean is None else f"{mean:.3g}", *cells])
    headers = ["option", "score", "geometric mean", *names]
    return Table(headers, rows, spare=["geometric mean", *names[::-1]], elsewhere=f"all of it is in {PROFILES_FILE}")


def ratio_cell(one: Profile, name: str) -> str:
    """`1.5 (340 steps)`, or `not reached by half`."""
    if not math.isfinite(one.ratios[name]):
        return f"- ({one.shares.get(name, 0):.0%} reached)"
    return f"{one.ratios[name]:.3g} ({one.steps[name]:,.0f} steps)"


def profiles_csv(found: Sequence[Profile]) -> str:
    """A row for each option and workload."""
    text = io.StringIO()
    columns = ["option", "score", "geometric_mean", "workload", "median_steps", "ratio", "share_reached"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for one in found:
        mean = one.geometric_mean
        shared = {"option": one.option, "score": one.score, "geometric_mean": "" if mean is None else mean}
        for name in one.ratios:
            own = {"workload": name, "median_steps": one.steps[name], "ratio": one.ratios[name]}
            writer.writerow({**shared, **own, "share_reached": one.shares.get(name, 0.0)})
    return text.getvalue()


def profile_json(one: Profile) -> dict[str, Any]:
    """A profile as plain values; None for what is infinite."""
    known = {name: ratio if math.isfinite(ratio) else None for name, ratio in one.ratios.items()}
    steps = {name: value if math.isfinite(value) else None for name, value in one.steps.items()}
    return {
        "option": one.option, "score": one.score, "geometric_mean": one.geometric_mean, "ratios": known,
        "median_steps": steps, "share_reached": one.shares,
    }  # fmt: skip


def draw_profiles(found: Sequence[Profile], path: Path, form: str = "png") -> Path:
    """Draw the profiles from tau = 1 to `LAST_TAU`, a step line for each option, whose names stand beside."""
    figure = style.new_figure(6.5, 3.6)
    axes = figure.subplots()
    count = len(found[0].ratios)
    style.dress(axes, "", "tau: times the steps of the fastest option", f"share of {count} workloads")
    for place, one in enumerate(found):
        ratios = sorted({1.0, *(ratio for ratio in one.ratios.values() if ratio <= LAST_TAU), LAST_TAU})
        heights = [one.at(tau) + 0.004 * place for tau in ratios]  # so that equal ones are seen
        label = f"{style.plain(one.option, 24)}: {one.score:.3g}"
        axes.step(ratios, heights, where="post", linewidth=1.8, label=label, **style.line_style(place))
    axes.set_xlim(1, LAST_TAU)
    axes.set_ylim(-0.03, 1.05)
    style.headline(figure, "Share of workloads by time to target")
    style.legend(axes, title="score", title_fontsize=8)
    with style.drawn_as(form):
        return style.save(figure, path)

"""The remark that a comparison ranks defaults: options that have numbers of their own, each tried at one value."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from dlrun.config.schema.schema import text_schema
from dlrun.config.schema.words import key_of, repeating_overrides
from dlrun.report.jobs import REPEATS, ComparedRun
from dlrun.report.stats import frozen, is_number
from dlrun.report.tables import format_value
from dlrun.store.reader import component

GROUPS = ("optimizer", "scheduler")  # whose options have numbers that are tuned
SHOWN = 10  # options whose values are printed
BUDGET = "sweep.budget=12 sweep.repeat=10"
Option = tuple[str, ...]  # the choices of the swept groups, as `("adam",)`


def on_chances(jobs: Sequence[ComparedRun], keys: Sequence[str]) -> str:
    """That the options were ranked at one value of their numbers each, or at unequally many; empty if not.

    Args:
        jobs: the runs of a comparison.
        keys: the settings in which they differ.
    """
    chosen = [key for key in keys if key in GROUPS or key.removesuffix(".name") in GROUPS]
    began = [job for job in jobs if job.run.config]
    if not chosen or any(job.run.flat.get("sweep.budget") for job in began):
        return ""
    options: dict[Option, list[ComparedRun]] = {}
    for job in began:
        options.setdefault(tuple(str(job.setting(key)) for key in chosen), []).append(job)
    names = {option: _tuned(some[0], chosen) for option, some in options.items()}
    tried = {option: len({_numbers(job, chosen) for job in some}) for option, some in options.items() if names[option]}
    if len(options) < 2 or not tried:
        return ""
    counts = set(tried.values())
    if len(counts) == 1 and counts != {1}:
        return ""
    equal = f"`{_command(began, chosen, keys)}` gives each the same chances"
    if counts == {1}:
        given = any(names[option] & (job.run.overridden or set()) for option, some in options.items() for job in some)
        values = [_shown(option, some[0], names[option]) for option, some in options.items()]
        more = f"; and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
        what = "one value of each" if given else "the defaults"
        return f"this ranks {what} ({'; '.join(values[:SHOWN])}{more}), not what they can do: {equal}."
    told = ", ".join(f"{' '.join(option)} at {count}" for option, count in list(tried.items())[:SHOWN])
    return f"unequal chances: the numbers of some were tried at more values than others ({told}): {equal}."


def _tuned(job: ComparedRun, chosen: Sequence[str]) -> set[str]:
    """The keys of the chosen options that are tuned: those with a range in their contract, and decays that are on."""
    found: set[str] = set()
    for key in chosen:
        group = key.removesuffix(".name")
        option = text_schema().section(group, component(job.run.config, group))
        keys = option.keys.items() if option else ()
        ranges = {name for name, info in keys if info.contract and info.contract.tune}
        for name, value in job.run.flat.items():
            own = name.removeprefix(f"{group}.")
            if own != name and is_number(value) and (own in ranges or own == "lr" or (own == "weight_decay" and value)):
                found.add(name)
    return found


def _numbers(job: ComparedRun, chosen: Sequence[str]) -> str:
    """The numbers of the chosen options, as one text."""
    groups = tuple(f"{key.removesuffix('.name')}." for key in chosen)
    return frozen({name: value for name, value in job.run.flat.items() if name.startswith(groups) and is_number(value)})


def _shown(option: Option, job: ComparedRun, names: Collection[str]) -> str:
    values = [f"{name.rpartition('.')[2]}={format_value(job.run.flat[name])}" for name in sorted(names)]
    return " ".join([*option, *values])


def _command(jobs: Sequence[ComparedRun], chosen: Sequence[str], keys: Sequence[str]) -> str:
    """The sweep that gives each option as many trials: what all runs have in common, and the options."""
    tuned = {name for job in jobs for name in _tuned(job, chosen)}
    lists = [repeating_overrides(job.run.words or [], text_schema()) for job in jobs]
    common = [word for word in lists[0] if all(word in words for words in lists)]
    common = [word for word in common if key_of(word) not in {*REPEATS, *keys, *tuned}]
    options = []
    for key in keys:
        values = dict.fromkeys(format_value(job.setting(key)) for job in jobs)
        if key not in REPEATS and key not in tuned and "" not in values:
            options.append(f"{key.removesuffix('.name') if key in chosen else key}={','.join(values)}")
    return f"{shlex.join(['dlrun', '-m', *common, *options])} {BUDGET}"

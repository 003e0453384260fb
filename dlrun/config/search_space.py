"""The space of a search: which values are valid at all, and which ranges are of whole numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from dlrun.config.job import Job, JobComposer, Rows, Space
from dlrun.config.overrides.values import Distribution, as_text
from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.errors import ConfigError, Problem

TRIED = 300  # jobs that are composed to find invalid values, which takes a second at most
SHARED_SETTINGS = ("search", "trials", "pruner", "target", "executor", "workers", "name")  # keys of the sweep section


def some_jobs(composer: JobComposer, rows: Rows) -> list[Job]:
    """Jobs of a search such that each value that is valid in any job is in a valid one of these.

    The first valid job is looked for, then for each value the jobs that differ least from that one; at most `TRIED`
    jobs are composed.
    """
    jobs: list[Job] = []
    good: set[str] = set()
    order = deque(_nearest(rows, next(iter(rows))))
    while order and len(jobs) < TRIED:
        texts = order.popleft()
        if jobs and good.issuperset(texts):
            continue
        jobs.append(composer.make(texts, rows[texts]))
        if jobs[-1].config and not good:
            order = deque(_nearest(order, texts))
        good.update(texts if jobs[-1].config else ())
    return jobs


def _nearest(rows: Iterable[tuple[str, ...]], words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Sort combinations by the number of values in which they differ from `words`."""
    return sorted(rows, key=lambda texts: len(set(texts).difference(words)))


def impossible_values(jobs: list[Job]) -> list[tuple[str, str]]:
    """The swept values, as (key, text), that no valid job has."""
    good = {pair for job in jobs if job.config for pair in _pairs(job)}
    bad = dict.fromkeys(pair for job in jobs if not job.config for pair in _pairs(job))
    return [pair for pair in bad if pair not in good]


def _pairs(job: Job) -> list[tuple[str, str]]:
    return [(key, as_text(value)) for key, value in job.swept.items()]


def name_problems(bad: list[tuple[str, str]], jobs: list[Job]) -> list[Problem]:
    """The problems of each of these values, taken from the job with the fewest problems."""
    problems = []
    for key, text in bad:
        job = min((job for job in jobs if (key, text) in _pairs(job)), key=lambda job: len(job.problems))
        problems += [Problem(f"{key}={text}: {p.key}", p.message, p.hint) for p in job.problems]
    words = "1 value cannot" if len(bad) == 1 else f"{len(bad)} values cannot"
    hint = "sweep.skip_invalid=true searches without."
    return [*problems, Problem("sweep", f"{words} be run; nothing was started.", hint)]


def without_values(bad: list[tuple[str, str]], key: str, space: Space) -> Space:
    """The values of a key without the invalid ones."""
    return [v for v in space if (key, as_text(v)) not in bad] if isinstance(space, list) else space


def typed_space(key: str, value: Space, jobs: list[Job], schema: Schema) -> Space:
    """Make a range one of whole numbers if the key is an int in every option that the jobs choose."""
    if not isinstance(value, Distribution):
        return value
    group, _, inner = key.partition(".")
    chosen = {str(job.config.get(f"{group}.name")) for job in jobs if job.config}
    sections = [section for name in sorted(chosen) if group in GROUPS and (section := schema.section(group, name))]
    known = [info.contract for section in sections if (info := section.keys.get(inner))] or [schema.contract(key)]
    if all(contract and contract.has("int") and not contract.has("float") for contract in known):
        return replace(value, low=int(value.low), high=int(value.high), integer=True)
    return value


def check_ranges(
    composer: JobComposer, rows: Rows, jobs: list[Job], ranges: Mapping[tuple[str, ...], Mapping[str, Distribution]]
) -> None:
    """Raise `ConfigError` if ranges are valid in no job, or their upper ends are not where their lower ends are.

    `ranges` are those of each combination in `rows`, whose last overrides are the lower ends.
    """
    by_ranges: dict[str, list[Job]] = {}
    for job in jobs:
        by_ranges.setdefault(repr(ranges[job.overrides[len(composer.fixed) :]]), []).append(job)
    for alike in by_ranges.values():
        good = next((job for job in alike if job.config), None)
        if good is None:
            raise ConfigError(list(dict.fromkeys(problem for job in alike for problem in job.problems)))
        words = good.overrides[len(composer.fixed) :]
        own = ranges[words]
        tops = tuple(f"{key}={as_text(value.high)}" for key, value in own.items())
        values = (*words[: len(words) - len(tops)], *tops)
        if problems := composer.make(values, rows[words]).problems:
            raise ConfigError(problems)


def refuse_mixed(jobs: list[Job], spaces: list[tuple[tuple[str, ...], list[dict[str, Space]]]]) -> None:
    """Raise `ConfigError` for experiments that differ in what they sweep, or in settings that a sweep has once."""
    differing = [words for words, space in spaces if space != spaces[0][1]]
    if differing:
        first = " ".join(spaces[0][0])
        what = f"{first} and {' '.join(differing[0])} sweep different values, and a search has one space for all."
        raise ConfigError(Problem("sweep.search", what, f"Search each by itself: dlrun -m {first} ..."))
    configs = [job.config for job in jobs if job.config]
    own = {"target"} if any(config.sweep.workload for config in configs) else set()  # each workload has its own
    for key in (key for key in SHARED_SETTINGS if key not in own):
        values = dict.fromkeys(as_text(config.get(f"sweep.{key}")) for config in configs)
        if len(values) > 1:
            what = f"the experiments set {' and '.join(values)}, and a sweep has one."
            raise ConfigError(Problem(f"sweep.{key}", what, f"Say which: sweep.{key}={next(iter(values))}"))


def no_grid(key: str) -> Problem:
    return Problem(key, "an interval has no list of values to try.", "Choose a search: sweep.search=random (or tpe).")

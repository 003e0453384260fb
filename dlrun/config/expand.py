"""Expand a command into the jobs of a sweep: by `-m` with Hydra's sweep grammar, or by an experiment's `sweep.params`.

    expansion = expand(["optimizer=sgd,adam", "seed=range(3)"])
    expansion.jobs[0].overrides == ("optimizer=sgd", "seed=0")

Files are read once for each choice of options; 1,000 jobs are composed, checked and frozen in about a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Unpack

from dlrun.config.compose import Draft, Sources, open_draft, read_draft
from dlrun.config.config import Config
from dlrun.config.grids import Combinations, combinations_of, lowest, merged, own_grids, params, union
from dlrun.config.job import Job, JobComposer, Space, without_params
from dlrun.config.overrides.values import Distribution, as_text
from dlrun.config.schema.schema import Schema
from dlrun.config.search_space import (
    check_ranges,
    impossible_values,
    name_problems,
    no_grid,
    refuse_mixed,
    some_jobs,
    typed_space,
    without_values,
)
from dlrun.errors import ConfigError


@dataclass(frozen=True)
class Expansion:
    """A sweep.

    Args:
        overrides: the overrides that all jobs share.
        swept: the values of each swept key, in order.
        jobs: all jobs of a grid. A search makes its jobs one by one, by `job`.
        config: the configuration of the first valid job. Its `sweep` section is the same in all jobs.
        schema: the schema that the overrides belong to.
        left_out: the values that no valid job of a search can have, as overrides.
        repeated: the values that were given more than once for a key, as overrides.
        spaces: of a search, the grids whose values go together: one, or several with spaces of their own.
        ranges: of a comparison with equal chances, the ranges that are tuned of each job, which is an option.
    """

    overrides: tuple[str, ...]
    swept: dict[str, Space]
    jobs: list[Job]
    config: Config
    schema: Schema = field(repr=False)
    left_out: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    spaces: tuple[dict[str, Space], ...] = ()
    ranges: tuple[dict[str, Distribution], ...] = ()

    @cached_property
    def composer(self) -> JobComposer:
        return JobComposer(self.schema, self.overrides)

    def job(self, values: Mapping[str, Any]) -> Job:
        """The job with these plain values of the swept keys."""
        words = tuple(f"{key}={as_text(value)}" for key, value in values.items())
        return self.composer.make(words, dict(values))


def expand(overrides: Sequence[str], **sources: Unpack[Sources]) -> Expansion:
    """The sweep that these overrides describe. Raises `ConfigError` for problems that all of its jobs have."""
    return expand_draft(open_draft(overrides, **sources))


def plan(overrides: Sequence[str], *, multirun: bool = False, **sources: Unpack[Sources]) -> Config | Expansion:
    """The run that a command line describes, or the sweep (`-m`, or an experiment with `sweep.params`)."""
    if multirun:
        return expand(overrides, **sources)
    draft = open_settled(overrides, **sources)
    return expand_draft(draft) if _sweeps_itself(draft) else without_params(draft.single().config())


def open_settled(overrides: Sequence[str], **sources: Unpack[Sources]) -> Draft:
    """The draft of overrides; where one fixes a swept key of the experiment and so leaves one job, that of the job."""
    draft = open_draft(overrides, **sources)
    if not _sweeps_itself(draft) or any(word.is_sweep for word in draft.words):
        return draft
    if not any(word.key in grid for word in draft.words for grid in params(draft)):
        return draft
    jobs = expand_draft(draft).jobs
    return replace(read_draft(jobs[0].overrides, draft.schema), is_one_run=True) if len(jobs) == 1 else draft


def _sweeps_itself(draft: Draft) -> bool:
    """Whether the experiment has `sweep.params` of which not all are fixed to one value by overrides."""
    several = {word.key: word.is_sweep for word in draft.words}  # the last override of a key counts
    found = set() if draft.problems or draft.is_one_run else {key for grid in params(draft) for key in grid}
    return bool(found) and (any(several.values()) or not found <= set(several))


def expand_draft(draft: Draft) -> Expansion:
    """The sweep that a draft describes. Raises `ConfigError` for problems that all of its jobs have."""
    fixed, own = own_grids(draft)
    composer = JobComposer(draft.schema, fixed)
    if draft.problems:
        first = lowest(own[0])
        raise ConfigError(list(dict.fromkeys([*draft.problems, *composer.make(first, {}).problems])))
    found = combinations_of(draft, composer, own)
    ranged = any(found.ranges.values())
    if ranged:
        jobs = some_jobs(composer, found.rows)
        check_ranges(composer, found.rows, jobs, found.ranges)
    else:
        jobs = [composer.make(texts, values) for texts, values in found.rows.items()]
    config = next((job.config for job in jobs if job.config), None)
    if config is None:
        raise ConfigError(list(dict.fromkeys(problem for job in jobs for problem in job.problems)))
    if config.sweep.budget is not None:
        return options(composer, found, config)
    searching = config.sweep.search != "grid"
    if ranged and not searching:
        raise ConfigError([no_grid(key) for key in dict.fromkeys(k for one in found.ranges.values() for k in one)])
    refuse_mixed(jobs, found.inner if ranged or searching else [])
    repeated = tuple(found.repeated)
    if not searching:
        return Expansion(fixed, union(found.spaces), jobs, config, draft.schema, repeated=repeated)
    grids = merged(found.spaces)
    spaces = [{key: typed_space(key, v, jobs, draft.schema) for key, v in grid.items()} for grid in grids]
    bad = impossible_values(jobs)
    if bad and not config.sweep.skip_invalid:
        raise ConfigError(name_problems(bad, jobs))
    spaces = [{key: without_values(bad, key, value) for key, value in grid.items()} for grid in spaces]
    spaces = [grid for grid in spaces if all(value != [] for value in grid.values())]
    left_out = tuple(f"{key}={text}" for key, text in bad)
    return Expansion(fixed, union(spaces), [], config, draft.schema, left_out, repeated, tuple(spaces))


def options(composer: JobComposer, found: Combinations, config: Config) -> Expansion:
    """The options that are compared with equal chances (`sweep.budget`), each with the ranges that are tuned of it."""
    jobs, ranges = [], []
    for words, values in found.rows.items():
        own = found.ranges[words]
        jobs.append(composer.make(words[: len(words) - len(own)], values))
        typed = {key: typed_space(key, value, jobs[-1:], composer.schema) for key, value in own.items()}
        ranges.append({key: value for key, value in typed.items() if isinstance(value, Distribution)})
    listed: list[dict[str, Space]] = [
        {key: value for key, value in grid.items() if isinstance(value, list)} for grid in found.spaces
    ]
    return Expansion(
        composer.fixed, union(listed), jobs, config, composer.schema, (), tuple(found.repeated), ranges=tuple(ranges)
    )

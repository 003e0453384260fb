"""Expand a command into the jobs of a sweep: by `-m` with Hydra's sweep grammar, or by an experiment's `sweep.params`.

    expansion = expand(["optimizer=sgd,adam", "seed=range(3)"])
    expansion.jobs[0].overrides == ("optimizer=sgd", "seed=0")

Files are read once for each choice of options; 200 jobs are composed, checked and frozen in less than a second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any, Unpack

from dlrun.config.compose import Draft, Sources, grids_in, open_draft
from dlrun.config.config import Config
from dlrun.config.job import Job, JobComposer, Rows, Space, without_params
from dlrun.config.overrides.grammar import read_word
from dlrun.config.overrides.values import LARGEST_SWEEP, Choices, Distribution, Zipped, as_text
from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.config.schema.words import key_of
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
from dlrun.errors import ConfigError, Problem

Grid = dict[str, Choices | Distribution]  # the values that are tried of some keys, in all combinations


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
    """

    overrides: tuple[str, ...]
    swept: dict[str, Space]
    jobs: list[Job]
    config: Config
    schema: Schema = field(repr=False)
    left_out: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    spaces: tuple[dict[str, Space], ...] = ()

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


def params(draft: Draft) -> list[dict[str, Any]]:
    """The grids in `sweep.params` of the chosen experiment, or as the command line gives them."""
    try:
        values = draft.single().values()
    except ConfigError:
        return []
    return [{draft.schema.today(key): value for key, value in grid.items()} for grid in grids_in(values)]


def _sweeps_itself(draft: Draft) -> bool:
    """Whether the experiment has `sweep.params` of which not all are fixed to one value by overrides."""
    several = {word.key: word.is_sweep for word in draft.words}  # the last override of a key counts
    found = set() if draft.problems or draft.is_one_run else {key for grid in params(draft) for key in grid}
    return bool(found) and (any(several.values()) or not found <= set(several))


def expand_draft(draft: Draft) -> Expansion:
    """The sweep that a draft describes. Raises `ConfigError` for problems that all of its jobs have."""
    fixed, own = _own(draft)
    composer = JobComposer(draft.schema, fixed)
    if draft.problems:
        first = _lowest(own[0])
        raise ConfigError(list(dict.fromkeys([*draft.problems, *composer.make(first, {}).problems])))
    found = _combinations(draft, composer, own)
    ranged = any(found.ranges.values())
    if ranged:
        jobs = some_jobs(composer, found.rows)
        check_ranges(composer, found.rows, jobs, found.ranges)
    else:
        jobs = [composer.make(texts, values) for texts, values in found.rows.items()]
    config = next((job.config for job in jobs if job.config), None)
    if config is None:
        raise ConfigError(list(dict.fromkeys(problem for job in jobs for problem in job.problems)))
    searching = config.sweep.search != "grid"
    if ranged and not searching:
        raise ConfigError([no_grid(key) for key in dict.fromkeys(k for one in found.ranges.values() for k in one)])
    refuse_mixed(jobs, found.inner if ranged or searching else [])
    spaces = [{key: typed_space(key, v, jobs, draft.schema) for key, v in grid.items()} for grid in found.spaces]
    repeated = tuple(found.repeated)
    if not searching:
        return Expansion(fixed, union(spaces), jobs, config, draft.schema, repeated=repeated)
    bad = impossible_values(jobs)
    if bad and not config.sweep.skip_invalid:
        raise ConfigError(name_problems(bad, jobs))
    spaces = [{key: without_values(bad, key, value) for key, value in grid.items()} for grid in spaces]
    spaces = [grid for grid in spaces if all(value != [] for value in grid.values())]
    left_out = tuple(f"{key}={text}" for key, text in bad)
    return Expansion(fixed, union(spaces), [], config, draft.schema, left_out, repeated, tuple(spaces))


@dataclass
class Combinations:
    """What a sweep tries.

    Args:
        rows: combinations of values, as overrides and by key; a range is there as its lower end, among the overrides.
        ranges: the ranges of each row.
        spaces: the values of each grid.
        inner: for each choice of experiment, the values that it sweeps itself.
        repeated: values that were given more than once, as overrides.
    """

    rows: Rows = field(default_factory=dict)
    ranges: dict[tuple[str, ...], dict[str, Distribution]] = field(default_factory=dict)
    spaces: list[dict[str, Space]] = field(default_factory=list)
    inner: list[tuple[tuple[str, ...], list[dict[str, Space]]]] = field(default_factory=list)
    repeated: dict[str, None] = field(default_factory=dict)

    def add(self, texts: tuple[str, ...], values: dict[str, Any], ranges: dict[str, Distribution]) -> None:
        """Add a combination, with the ranges that are tried beside it."""
        words = (*texts, *(f"{key}={as_text(one.low)}" for key, one in ranges.items()))
        self.rows[words] = values
        self.ranges[words] = ranges


def _combinations(draft: Draft, composer: JobComposer, own: list[Grid]) -> Combinations:
    """All combinations of the grids of the command line, with those of the experiments that these choose."""
    found = Combinations()
    known: dict[tuple[str, ...], list[Grid]] = {}
    for grid in own:
        found.repeated |= dict.fromkeys(_repeated(grid))
        whole = {key: _space(value) for key, value in grid.items()}
        merged: list[list[dict[str, Space]]] = []
        mine = {key: value for key, value in grid.items() if isinstance(value, Distribution)}
        for texts, values in _product(grid):
            grids = _inner(draft, composer, texts, known) or [{}]
            spaces = [{key: _space(value) for key, value in one.items()} for one in grids]
            found.inner.append((texts, spaces))
            if spaces not in merged:  # most rows choose the same
                merged.append(spaces)
                for space in spaces:
                    found.spaces = joined(found.spaces, {**whole, **space})
            for one in grids:
                found.repeated |= dict.fromkeys(_repeated(one))
                theirs = {key: value for key, value in one.items() if isinstance(value, Distribution)}
                for more, row in _product(one):
                    found.add((*texts, *more), {**values, **row}, mine | theirs)
    return found


def joined(spaces: list[dict[str, Space]], new: dict[str, Space]) -> list[dict[str, Space]]:
    """The spaces with another one, which is merged into one that differs from it in the list of one key alone."""
    for i, one in enumerate(spaces):
        differ = [key for key in one if one[key] != new.get(key)]
        if one.keys() != new.keys() or len(differ) > 1:
            continue
        if all(isinstance(space[key], list) for key in differ for space in (one, new)):
            merged = {key: _joined(one[key], new[key]) for key in differ}
            return [*spaces[:i], {**one, **merged}, *spaces[i + 1 :]]
    return [*spaces, new]


def union(spaces: Sequence[dict[str, Space]]) -> dict[str, Space]:
    """The values of every key in any of the grids. Of several ranges, the widest ends count."""
    found: dict[str, Space] = {}
    for grid in spaces:
        for key, value in grid.items():
            found[key] = _joined(found.get(key), value)
    return found


def _own(draft: Draft) -> tuple[tuple[str, ...], list[Grid]]:
    """The overrides that all jobs share, as typed, and the grids of swept keys. The last override of a key counts."""
    last = {word.text if isinstance(word.value, Zipped) else word.key: word for word in draft.words}
    swept = {key: word for key, word in last.items() if word.is_sweep}
    grids: list[Grid] = [{}]
    for word in swept.values():
        pairs: list[Grid] = word.value.rows() if isinstance(word.value, Zipped) else [{word.key: word.value}]
        for key in pairs[0]:
            if key == "plugins" or key.startswith("sweep."):
                draft.problems.append(Problem(key, "cannot be swept: it holds for the whole sweep."))
            if key in grids[0] or (isinstance(word.value, Zipped) and key in last):
                draft.problems.append(Problem(key, "is given in zip(...) and again beside it.", "Give it once."))
        grids = [{**grid, **pair} for grid in grids for pair in pairs]
    fixed = dict.fromkeys(word.text for word in draft.words if not word.is_sweep and word.key not in swept)
    return tuple(fixed), grids


def _lowest(grid: Grid) -> tuple[str, ...]:
    """The first value of each key, and the lower end of each range, as overrides."""
    return tuple(f"{key}={v.texts[0] if isinstance(v, Choices) else as_text(v.low)}" for key, v in grid.items())


def _inner(
    draft: Draft, composer: JobComposer, texts: tuple[str, ...], known: dict[tuple[str, ...], list[Grid]]
) -> list[Grid]:
    """The `sweep.params` of the experiment that these overrides choose: `-m experiment=a,b` may choose two.

    A key that the command line gives is not swept; grids that do not have the given value are left out, if one has it.
    `known` are the grids by the options that were chosen before.
    """
    options = tuple(text for text in texts if key_of(text) in GROUPS)
    if options not in known:
        found = params(composer.draft(options))
        known[options] = [{key: read_param(key, v, draft.schema) for key, v in grid.items()} for grid in found]
    grids = known[options]
    if not grids:
        return []
    chosen = composer.draft(texts)
    given = {word.key: word.value for word in [*draft.words, *chosen.words] if not word.is_sweep}
    swept = {key for word in draft.words for key in (word.value.keys if isinstance(word.value, Zipped) else [word.key])}
    for key, value in given.items():
        grids = [grid for grid in grids if _has(grid, key, value)] or grids
    return [{key: value for key, value in grid.items() if key not in swept} for grid in grids]


def _has(grid: Grid, key: str, value: object) -> bool:
    """Whether a grid tries a value of a key."""
    tried = grid.get(key)
    return isinstance(tried, Choices) and value in tried.values


def read_param(key: str, value: object, schema: Schema) -> Choices | Distribution:
    """Parse the values of one key of `sweep.params`: a list, or a text in the grammar of `-m`.

    Raises `ConfigError`.
    """
    if value in ([], {}, None):
        raise ConfigError(Problem(f"sweep.params.{key}", "has no values."))
    if isinstance(value, list):
        words = [read_word(f"{key}={'null' if item is None else as_text(item)}", schema)[0] for item in value]
        return Choices(tuple(word.value for word in words), tuple(as_text(word.value) for word in words))
    word = read_word(f"{key}={value if isinstance(value, str) else as_text(value)}", schema)[0]
    return word.value if word.is_sweep else Choices((word.value,), (as_text(word.value),))


def _product(grid: Grid) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """All combinations of the listed values, as overrides and as values by key. The last key varies fastest."""
    listed = [(key, choices) for key, choices in grid.items() if isinstance(choices, Choices)]
    size = math.prod(len(choices.values) for _, choices in listed)
    if size > LARGEST_SWEEP:
        raise ConfigError(Problem(listed[0][0], f"these are {size} jobs; {LARGEST_SWEEP} is the most."))
    pairs = [[(key, v, t) for v, t in zip(c.values, c.texts, strict=True)] for key, c in listed]
    for row in product(*pairs):
        yield tuple(f"{key}={text}" for key, _, text in row), {key: value for key, value, _ in row}


def _repeated(grid: Grid) -> list[str]:
    """Values that are given more than once for a key, as overrides: `seed=0` of `seed=0,0,0`."""
    counted = {key: Counter(value.texts) for key, value in grid.items() if isinstance(value, Choices)}
    return [f"{key}={text}" for key, texts in counted.items() for text, count in texts.items() if count > 1]


def _space(value: Choices | Distribution) -> Space:
    """The values of a key without repetitions, or its range."""
    if isinstance(value, Distribution):
        return value
    return list(dict(zip(value.texts, value.values, strict=True)).values())


def _joined(known: Space | None, new: Space) -> Space:
    """The union of the values that two grids give a key. Of two ranges, the ends that are farther out count."""
    if isinstance(known, list) and isinstance(new, list):
        return [*known, *(item for item in new if item not in known)]
    if isinstance(known, Distribution) and isinstance(new, Distribution):
        return replace(new, low=min(known.low, new.low), high=max(known.high, new.high))
    return new

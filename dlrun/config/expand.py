"""Expand a command into the jobs of a sweep: by `-m` with Hydra's sweep grammar, or by an experiment's `sweep.params`.

    expansion = expand(["optimizer=sgd,adam", "seed=range(3)"])
    expansion.jobs[0].overrides == ("optimizer=sgd", "seed=0")

Files are read once for each choice of options; 200 jobs are composed, checked and frozen in less than a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Unpack

from dlrun.config.compose import Draft, Sources, open_draft, read_draft
from dlrun.config.config import Config
from dlrun.config.job import Job, Rows, Space, make_job, without_params
from dlrun.config.overrides.grammar import read_word
from dlrun.config.overrides.values import LARGEST_SWEEP, Choices, Distribution, as_text
from dlrun.config.schema.schema import Schema
from dlrun.config.search_space import (
    impossible_values,
    name_problems,
    no_grid,
    refuse_mixed,
    some_jobs,
    try_the_tops,
    typed_space,
    without_values,
)
from dlrun.errors import ConfigError, Problem


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
    """

    overrides: tuple[str, ...]
    swept: dict[str, Space]
    jobs: list[Job]
    config: Config
    schema: Schema = field(repr=False)
    left_out: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()

    def job(self, values: Mapping[str, Any]) -> Job:
        """The job with these plain values of the swept keys."""
        words = tuple(f"{key}={as_text(value)}" for key, value in values.items())
        return make_job(self.schema, self.overrides, words, dict(values))


def expand(overrides: Sequence[str], **sources: Unpack[Sources]) -> Expansion:
    """The sweep that these overrides describe. Raises `ConfigError` for problems that all of its jobs have."""
    return expand_draft(open_draft(overrides, **sources))


def plan(overrides: Sequence[str], *, multirun: bool = False, **sources: Unpack[Sources]) -> Config | Expansion:
    """The run that a command line describes, or the sweep (`-m`, or an experiment with `sweep.params`)."""
    draft = open_draft(overrides, **sources)
    if multirun or (not draft.problems and _sweeps_itself(draft)):
        return expand_draft(draft)
    return without_params(draft.single().config())


def params(draft: Draft) -> dict[str, Any]:
    """The `sweep.params` of the chosen experiment."""
    try:
        values = draft.single().values()
    except ConfigError:
        return {}
    section = values.get("sweep")
    found = section.get("params") if isinstance(section, dict) else None
    return {draft.schema.today(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _sweeps_itself(draft: Draft) -> bool:
    """Whether the experiment has `sweep.params` of which not all are fixed to one value by overrides."""
    several = {word.key: word.is_sweep for word in draft.words}  # the last override of a key counts
    found = params(draft)
    return bool(found) and (any(several.values()) or not set(found) <= set(several))


def expand_draft(draft: Draft) -> Expansion:
    """The sweep that a draft describes. Raises `ConfigError` for problems that all of its jobs have."""
    fixed, own = _own(draft)
    if draft.problems:
        first = tuple(f"{key}={v.texts[0] if isinstance(v, Choices) else as_text(v.low)}" for key, v in own)
        raise ConfigError(list(dict.fromkeys([*draft.problems, *make_job(draft.schema, fixed, first, {}).problems])))
    grids = [(key, value) for key, value in own if isinstance(value, Choices)]
    space: dict[str, Any] = {key: _space(value) for key, value in own}
    rows: Rows = {}
    repeated = dict.fromkeys(_repeated(own))
    spaces: list[tuple[tuple[str, ...], dict[str, Space]]] = []  # what the experiment of each row sweeps
    for texts, values in _product(grids):
        inner = _inner(draft, fixed, texts)
        repeated |= dict.fromkeys(_repeated(inner))
        spaces.append((texts, {key: _space(value) for key, value in inner}))
        for key, value in inner:
            space[key] = _joined(space.get(key), _space(value))
        for more, row in _product([(key, value) for key, value in inner if isinstance(value, Choices)]):
            rows[(*texts, *more)] = {**values, **row}
    ranges = {key: v for key, v in space.items() if isinstance(v, Distribution)}
    sample = tuple(f"{key}={as_text(v.low)}" for key, v in ranges.items())
    if not sample:
        jobs = [make_job(draft.schema, fixed, texts, values) for texts, values in rows.items()]
    else:
        jobs = some_jobs(draft.schema, fixed, rows, sample)
        try_the_tops(draft, fixed, rows, jobs, ranges)
    config = next((job.config for job in jobs if job.config), None)
    if config is None:
        raise ConfigError(list(dict.fromkeys(problem for job in jobs for problem in job.problems)))
    if config.sweep.search == "grid" and sample:
        raise ConfigError([no_grid(key) for key, value in space.items() if isinstance(value, Distribution)])
    refuse_mixed(jobs, spaces if sample or config.sweep.search != "grid" else [])
    space = {key: typed_space(key, value, jobs, draft.schema) for key, value in space.items()}
    if config.sweep.search == "grid":
        return Expansion(fixed, space, jobs, config, draft.schema, repeated=tuple(repeated))
    bad = impossible_values(jobs)
    if bad and not config.sweep.skip_invalid:
        raise ConfigError(name_problems(bad, jobs))
    space = {key: without_values(bad, key, value) for key, value in space.items()}
    left_out = tuple(f"{key}={text}" for key, text in bad)
    return Expansion(fixed, space, [], config, draft.schema, left_out, tuple(repeated))


def _own(draft: Draft) -> tuple[tuple[str, ...], list[tuple[str, Choices | Distribution]]]:
    """The overrides that all jobs share, as typed, and the swept keys. The last override of a key counts."""
    last = {word.key: word for word in draft.words}
    swept = {key: word for key, word in last.items() if word.is_sweep}
    for key in swept:
        if key == "plugins" or key.startswith("sweep."):
            draft.problems.append(Problem(key, "cannot be swept: it holds for the whole sweep."))
    fixed = dict.fromkeys(word.text for word in draft.words if not word.is_sweep and word.key not in swept)
    return tuple(fixed), [(key, word.value) for key, word in swept.items()]


def _inner(draft: Draft, fixed: tuple[str, ...], texts: tuple[str, ...]) -> list[tuple[str, Choices | Distribution]]:
    """The `sweep.params` of the experiment that these overrides choose: `-m experiment=a,b` may choose two."""
    found = params(read_draft((*fixed, *texts), draft.schema))
    given = {word.key for word in draft.words}
    return [(key, read_param(key, value, draft.schema)) for key, value in found.items() if key not in given]


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


def _product(keys: list[tuple[str, Choices]]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """All combinations, as overrides and as values by key. The last key varies fastest."""
    size = 1
    for _, choices in keys:
        size *= len(choices.values)
    if size > LARGEST_SWEEP:
        raise ConfigError(Problem(keys[0][0], f"these are {size} jobs; {LARGEST_SWEEP} is the most."))
    pairs = [[(key, v, t) for v, t in zip(c.values, c.texts, strict=True)] for key, c in keys]
    for row in product(*pairs):
        yield tuple(f"{key}={text}" for key, _, text in row), {key: value for key, value, _ in row}


def _repeated(keys: list[tuple[str, Choices | Distribution]]) -> list[str]:
    """Values that are given more than once for a key, as overrides: `seed=0` of `seed=0,0,0`."""
    counted = {key: Counter(value.texts) for key, value in keys if isinstance(value, Choices)}
    return [f"{key}={text}" for key, texts in counted.items() for text, count in texts.items() if count > 1]


def _space(value: Choices | Distribution) -> Space:
    """The values of a key without repetitions, or its range."""
    if isinstance(value, Distribution):
        return value
    return list(dict(zip(value.texts, value.values, strict=True)).values())


def _joined(known: Space | None, new: Space) -> Space:
    """The union of the values that two experiments give a key. Of ranges, the later one counts."""
    if isinstance(known, list) and isinstance(new, list):
        return [*known, *(item for item in new if item not in known)]
    return new

"""From one command to many jobs: `-m` with Hydra's sweep grammar, and experiments that sweep by themselves.

    expansion = expand(["optimizer=sgd,adam", "seed=range(3)"])
    expansion.jobs[0].overrides == ("optimizer=sgd", "seed=0")

Files are read once for each choice of groups; 200 jobs are composed, checked and frozen in well under a second.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from dlrun.config.compose import Draft, prepare, read_draft
from dlrun.config.config import Config
from dlrun.config.overrides.grammar import read_word
from dlrun.config.overrides.values import LARGEST_SWEEP, Choices, Distribution, as_text
from dlrun.config.schema.schema import Schema
from dlrun.errors import ConfigError, Problem

Space = list[Any] | Distribution  # the values of a swept key, or the range that a search draws from
Rows = dict[tuple[str, ...], dict[str, Any]]  # combinations: the swept words, and the values by key
TRIED = 300  # jobs that are composed to find a search's impossible values: a second, at the most


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `overrides` alone make it again; `config` is None where `problems` are found."""

    overrides: tuple[str, ...]
    swept: dict[str, Any]
    config: Config | None
    problems: list[Problem] = field(default_factory=list)

    def label(self, fixed: Sequence[str]) -> str:
        """Its words beyond those that all jobs have: `optimizer=adam seed=0`."""
        return " ".join(self.overrides[len(fixed) :])


@dataclass(frozen=True)
class Expansion:
    """A sweep: the words that hold for all jobs, the swept keys in order, and for a grid its jobs.

    `config` is that of a first possible job: its `sweep` section, the same in all, says how to run them.
    A search (`config.sweep.search` other than grid) has no jobs: it makes them one by one with `job`. Values that
    are impossible whatever the others are (`left_out`, as words) are not in its space.
    """

    overrides: tuple[str, ...]
    swept: dict[str, Space]
    jobs: list[Job]
    config: Config
    menu: Schema = field(repr=False)
    left_out: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()  # words of swept keys that were given more than once

    def job(self, values: Mapping[str, Any]) -> Job:
        """The job with these values of the swept keys (plain values, as `swept` has them)."""
        words = tuple(f"{key}={as_text(value)}" for key, value in values.items())
        return make_job(self.menu, self.overrides, words, dict(values))


def expand(
    overrides: Sequence[str],
    *,
    config_dir: str | Path | None = None,
    search_cwd: bool = True,
    plugin_files: Sequence[str] = (),
) -> Expansion:
    """The jobs that these words describe. Raises `ConfigError` for what is wrong with all of them."""
    choices = prepare(overrides, config_dir=config_dir, search_cwd=search_cwd, plugin_files=plugin_files)
    return expand_draft(read_draft(overrides, choices))


def plan(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dir: str | Path | None = None,
    search_cwd: bool = True,
    plugin_files: Sequence[str] = (),
) -> Config | Expansion:
    """What a command line asks for: one run, or a sweep (`-m`, or an experiment with `sweep.params`)."""
    choices = prepare(overrides, config_dir=config_dir, search_cwd=search_cwd, plugin_files=plugin_files)
    draft = read_draft(overrides, choices)
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
    return found if isinstance(found, dict) else {}


def _sweeps_itself(draft: Draft) -> bool:
    """Does the experiment sweep, and do the words leave it something to sweep (or give several values themselves)?"""
    several = {word.key: word.is_sweep for word in draft.words}  # the last word for a key counts
    found = params(draft)
    return bool(found) and (any(several.values()) or not set(found) <= set(several))


def without_params(config: Config) -> Config:
    """The same configuration as one run: nothing is left to sweep."""
    values = config.to_dict()
    values["sweep"]["params"] = {}
    return Config(values)


def expand_draft(draft: Draft) -> Expansion:
    """The sweep that a draft's words describe. Raises `ConfigError` for what is wrong with every job of it."""
    fixed, own = _own(draft)
    if draft.problems:
        first = tuple(f"{key}={_first(value)}" for key, value in own)
        raise ConfigError(list(dict.fromkeys([*draft.problems, *make_job(draft.menu, fixed, first, {}).problems])))
    grids = [(key, value) for key, value in own if isinstance(value, Choices)]
    space: dict[str, Any] = {key: _space(value) for key, value in own}
    rows: Rows = {}
    repeated = dict.fromkeys(_repeated(own))
    for texts, values in _product(grids):
        inner = _inner(draft, fixed, texts)
        repeated |= dict.fromkeys(_repeated(inner))
        for key, value in inner:
            space[key] = _joined(space.get(key), _space(value))
        for more, row in _product([(key, value) for key, value in inner if isinstance(value, Choices)]):
            rows[(*texts, *more)] = {**values, **row}
    sample = tuple(f"{key}={_first(v)}" for key, v in space.items() if isinstance(v, Distribution))
    if not sample:
        jobs = [make_job(draft.menu, fixed, texts, values) for texts, values in rows.items()]
    else:
        jobs = _some(draft.menu, fixed, rows, sample)
    config = next((job.config for job in jobs if job.config), None)
    if config is None:
        raise ConfigError(list(dict.fromkeys(problem for job in jobs for problem in job.problems)))
    if config.sweep.search == "grid" and sample:
        raise ConfigError([_no_grid(key) for key, value in space.items() if isinstance(value, Distribution)])
    space = {key: _typed(key, value, draft.menu) for key, value in space.items()}
    if config.sweep.search == "grid":
        return Expansion(fixed, space, jobs, config, draft.menu, repeated=tuple(repeated))
    bad = _impossible(jobs)
    if bad and not config.sweep.skip_invalid:
        raise ConfigError(_named(bad, jobs))
    space = {key: _without(bad, key, value) for key, value in space.items()}
    left_out = tuple(f"{key}={text}" for key, text in bad)
    return Expansion(fixed, space, [], config, draft.menu, left_out, tuple(repeated))


def _some(choices: Schema, fixed: tuple[str, ...], rows: Rows, sample: tuple[str, ...]) -> list[Job]:
    """Some of a search's jobs: if a value can be in a possible one, it is in one of these, unless that takes too many.

    First one that is possible, then for each value the jobs that differ the least from that.
    """
    jobs: list[Job] = []
    good: set[str] = set()
    order = deque(_nearest(rows, next(iter(rows))))
    while order and len(jobs) < TRIED:
        texts = order.popleft()
        if jobs and good.issuperset(texts):
            continue
        jobs.append(make_job(choices, fixed, (*texts, *sample), rows[texts]))
        if jobs[-1].config and not good:
            order = deque(_nearest(order, texts))
        good.update(texts if jobs[-1].config else ())
    return jobs


def _nearest(rows: Iterable[tuple[str, ...]], words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """In order: those that differ from these words in the fewest come first."""
    return sorted(rows, key=lambda texts: len(set(texts).difference(words)))


def _impossible(jobs: list[Job]) -> list[tuple[str, str]]:
    """The swept values (keys and texts) that are in none but impossible jobs."""
    good = {pair for job in jobs if job.config for pair in _pairs(job)}
    bad = dict.fromkeys(pair for job in jobs if not job.config for pair in _pairs(job))
    return [pair for pair in bad if pair not in good]


def _pairs(job: Job) -> list[tuple[str, str]]:
    return [(key, as_text(value)) for key, value in job.swept.items()]


def _named(bad: list[tuple[str, str]], jobs: list[Job]) -> list[Problem]:
    """What is wrong with each of these values, as the job says that has the least else wrong with it."""
    problems = []
    for key, text in bad:
        job = min((job for job in jobs if (key, text) in _pairs(job)), key=lambda job: len(job.problems))
        problems += [Problem(f"{key}={text}: {p.key}", p.message, p.hint) for p in job.problems]
    words = "1 value cannot" if len(bad) == 1 else f"{len(bad)} values cannot"
    hint = "sweep.skip_invalid=true searches without."
    return [*problems, Problem("sweep", f"{words} be run; nothing was started.", hint)]


def _without(bad: list[tuple[str, str]], key: str, space: Space) -> Space:
    """The values of a key but for these."""
    return [v for v in space if (key, as_text(v)) not in bad] if isinstance(space, list) else space


def make_job(choices: Schema, fixed: tuple[str, ...], swept: tuple[str, ...], values: dict[str, Any]) -> Job:
    """One job: composed, checked and frozen."""
    words = (*fixed, *swept)
    clean, problems = read_draft(words, choices).checked()
    config = None if problems else without_params(Config(clean))
    return Job(words, values, config, problems)


def _own(draft: Draft) -> tuple[tuple[str, ...], list[tuple[str, Choices | Distribution]]]:
    """The words that hold for all jobs, as typed, and the swept keys; the last word for a key counts."""
    last = {word.key: word for word in draft.words}
    swept = {key: word for key, word in last.items() if word.is_sweep}
    for key in swept:
        if key == "plugins" or key.startswith("sweep."):
            draft.problems.append(Problem(key, "cannot be swept: it holds for the whole sweep."))
    fixed = dict.fromkeys(word.text for word in draft.words if not word.is_sweep and word.key not in swept)
    return tuple(fixed), [(key, word.value) for key, word in swept.items()]


def _inner(draft: Draft, fixed: tuple[str, ...], texts: tuple[str, ...]) -> list[tuple[str, Choices | Distribution]]:
    """What the experiment of these words sweeps by itself (`-m experiment=a,b` may have two that do)."""
    found = params(read_draft((*fixed, *texts), draft.menu))
    given = {word.key for word in draft.words}
    return [(key, read_param(key, value, draft.menu)) for key, value in found.items() if key not in given]


def read_param(key: str, value: object, choices: Schema) -> Choices | Distribution:
    """The values of one key of `sweep.params`: a list, or a text in the grammar of `-m`. Raises `ConfigError`."""
    if value in ([], {}, None):
        raise ConfigError(Problem(f"sweep.params.{key}", "has no values."))
    if isinstance(value, list):
        words = [read_word(f"{key}={'null' if item is None else as_text(item)}", choices)[0] for item in value]
        return Choices(tuple(word.value for word in words), tuple(as_text(word.value) for word in words))
    word = read_word(f"{key}={value if isinstance(value, str) else as_text(value)}", choices)[0]
    return word.value if word.is_sweep else Choices((word.value,), (as_text(word.value),))


def _product(keys: list[tuple[str, Choices]]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every combination, the last key fastest: the words, and the values by key."""
    size = 1
    for _, choices in keys:
        size *= len(choices.values)
    if size > LARGEST_SWEEP:
        raise ConfigError(Problem(keys[0][0], f"these are {size} jobs; {LARGEST_SWEEP} is the most."))
    pairs = [[(key, v, t) for v, t in zip(c.values, c.texts, strict=True)] for key, c in keys]
    for row in product(*pairs):
        yield tuple(f"{key}={text}" for key, _, text in row), {key: value for key, value, _ in row}


def _repeated(keys: list[tuple[str, Choices | Distribution]]) -> list[str]:
    """The words of values that are given more than once for a key: `seed=0` of `seed=0,0,0`."""
    counted = {key: Counter(value.texts) for key, value in keys if isinstance(value, Choices)}
    return [f"{key}={text}" for key, texts in counted.items() for text, count in texts.items() if count > 1]


def _space(value: Choices | Distribution) -> Space:
    """The values of a key, each once."""
    if isinstance(value, Distribution):
        return value
    return list(dict(zip(value.texts, value.values, strict=True)).values())


def _joined(known: Space | None, new: Space) -> Space:
    """The values of two experiments for one key."""
    if isinstance(known, list) and isinstance(new, list):
        return [*known, *(item for item in new if item not in known)]
    return new


def _first(value: Choices | Distribution) -> str:
    """Any one value, as text."""
    return value.texts[0] if isinstance(value, Choices) else as_text(value.low)


def _typed(key: str, value: Space, choices: Schema) -> Space:
    """A range over whole numbers where the key is one."""
    contract = choices.contract(key)
    if isinstance(value, Distribution) and contract and contract.has("int") and not contract.has("float"):
        return replace(value, low=int(value.low), high=int(value.high), integer=True)
    return value


def _no_grid(key: str) -> Problem:
    return Problem(key, "an interval has no list of values to try.", "Choose a search: sweep.search=random (or tpe).")

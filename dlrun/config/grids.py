"""The grids of a sweep, from the command line and from `sweep.params`: the values of swept keys, all combined."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from dlrun.config.compose import Draft, grids_in
from dlrun.config.job import JobComposer, Rows, Space
from dlrun.config.overrides.grammar import read_word
from dlrun.config.overrides.values import LARGEST_SWEEP, Choices, Distribution, Zipped, as_text
from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.config.schema.words import WORKLOAD, key_of
from dlrun.errors import ConfigError, Problem

Grid = dict[str, Choices | Distribution]  # the values that are tried of some keys, in all combinations


def params(draft: Draft) -> list[dict[str, Any]]:
    """The grids in `sweep.params` of the chosen experiment, or as the command line gives them."""
    try:
        values = draft.single().values()
    except ConfigError:
        return []
    grids = [{draft.schema.today(key): value for key, value in grid.items()} for grid in grids_in(values)]
    names = list(workloads_in(values))
    return [{WORKLOAD: names, **grid} for grid in grids or [{}]] if names else grids


def workloads_in(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The `sweep.workloads` by name: what each sets, its target as the value of `sweep.target`."""
    section = values.get("sweep")
    found = section.get("workloads") if isinstance(section, dict) else None
    return {
        str(name): {"sweep.target" if key == "target" else str(key): value for key, value in settings.items()}
        for name, settings in (found if isinstance(found, dict) else {}).items()
        if isinstance(settings, dict)
    }


@dataclass
class Combinations:
    """What a sweep tries.

    Args:
        rows: combinations of values, as overrides and by key; a range is there as its lower end, among the overrides.
        ranges: the ranges of each row.
        spaces: the values of each grid.
        inner: for each choice of experiment, the values that it sweeps itself.
        repeated: values that were given more than once, as overrides.
        settings: what each workload sets, as overrides; tables show its name alone.
    """

    rows: Rows = field(default_factory=dict)
    ranges: dict[tuple[str, ...], dict[str, Distribution]] = field(default_factory=dict)
    spaces: list[dict[str, Space]] = field(default_factory=list)
    inner: list[tuple[tuple[str, ...], list[dict[str, Space]]]] = field(default_factory=list)
    repeated: dict[str, None] = field(default_factory=dict)
    settings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, texts: tuple[str, ...], values: dict[str, Any], ranges: dict[str, Distribution]) -> None:
        """Add a combination, with the ranges that are tried beside it."""
        texts = (*texts, *self.settings.get(str(values.get(WORKLOAD)), ()))
        words = (*texts, *(f"{key}={as_text(one.low)}" for key, one in ranges.items()))
        self.rows[words] = values
        self.ranges[words] = ranges


def combinations_of(draft: Draft, composer: JobComposer, own: list[Grid]) -> Combinations:
    """All combinations of the grids of the command line, with those of the experiments that these choose."""
    found = Combinations(settings=workload_words(draft, composer))
    known: dict[tuple[str, ...], list[Grid]] = {}
    for grid in own:
        found.repeated |= dict.fromkeys(_repeated(grid))
        whole = {key: _space(value) for key, value in grid.items()}
        seen: list[list[dict[str, Space]]] = []
        mine = {key: value for key, value in grid.items() if isinstance(value, Distribution)}
        for texts, values in _product(grid):
            grids = _inner(draft, composer, texts, known) or [{}]
            spaces = [{key: _space(value) for key, value in one.items()} for one in grids]
            found.inner.append((texts, spaces))
            if spaces not in seen:  # most rows choose the same
                seen.append(spaces)
                for space in spaces:
                    found.spaces.append({**whole, **space})
            for one in grids:
                found.repeated |= dict.fromkeys(_repeated(one))
                theirs = {key: value for key, value in one.items() if isinstance(value, Distribution)}
                for more, row in _product(one):
                    found.add((*texts, *more), {**values, **row}, mine | theirs)
    return found


def workload_words(draft: Draft, composer: JobComposer) -> dict[str, tuple[str, ...]]:
    """What each workload sets, as overrides, without the keys that the command line gives."""
    try:
        found = workloads_in(composer.draft(()).values())
    except ConfigError:
        return {}
    given = {word.key for word in draft.words}
    return {
        name: tuple(f"{key}={as_text(value)}" for key, value in settings.items() if key not in given)
        for name, settings in found.items()
    }


def merged(spaces: Iterable[dict[str, Space]]) -> list[dict[str, Space]]:
    """The spaces, those that differ in the list of one key alone merged into one."""
    found: list[dict[str, Space]] = []
    for space in spaces:
        found = add_space(found, space)
    return found


def add_space(spaces: list[dict[str, Space]], new: dict[str, Space]) -> list[dict[str, Space]]:
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
            known = found.get(key)
            if isinstance(known, list) and isinstance(value, list):
                known.extend(value)  # `_joined` would compare each value with all others
            else:
                found[key] = [*value] if isinstance(value, list) else _joined(known, value)
    return {key: _once(value) if isinstance(value, list) else value for key, value in found.items()}


def _once(values: list[Any]) -> list[Any]:
    """The values without repetitions, in order."""
    try:
        return [*dict.fromkeys(values)]
    except TypeError:  # lists or mappings among them, which have no hash
        return [value for i, value in enumerate(values) if value not in values[:i]]


def own_grids(draft: Draft) -> tuple[tuple[str, ...], list[Grid]]:
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


def lowest(grid: Grid) -> tuple[str, ...]:
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

"""The space of a search: what is searched, what repeats a trial, and whether a folder's search may go on with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dlrun.config.expand import Expansion
from dlrun.config.job import Space
from dlrun.config.overrides.values import Distribution, as_text, read_value
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import Values
from dlrun.report.jobs import REPEATS
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.samplers.base import space_of

Stored = Mapping[str, Any]  # the values of each key as sweep.yaml has them: a list, or a range as text


@dataclass(frozen=True)
class SearchSpace:
    """The grids that a search draws from, without the seeds and folds that repeat each trial."""

    grids: tuple[dict[str, Space], ...]
    repeats: tuple[Values, ...]  # of each trial: one empty dict where no seed or fold is listed

    @property
    def size(self) -> float:
        """The number of combinations, infinite where there is a range."""
        return size(self.grids)


def search_space(expansion: Expansion) -> SearchSpace:
    """What a search draws from. A list of seeds or folds beside it is no part of that: a trial runs all of them."""
    listed = {key: values for key in REPEATS if isinstance(values := expansion.swept.get(key), list)}
    grids = [{key: value for key, value in grid.items() if key not in listed} for grid in expansion.spaces]
    repeats = tuple(dict(zip(listed, row, strict=True)) for row in product(*listed.values()))
    return SearchSpace(tuple(grids), repeats)


def size(spaces: Sequence[Stored]) -> float:
    """The number of combinations, infinite where there is a range (which may be text, as in sweep.yaml)."""
    counts = [[len(c) if isinstance(c, list) else math.inf for c in space.values()] for space in spaces]
    return sum(map(math.prod, counts))


def set_search(sweep: SweepDir, expansion: Expansion, settings: Values) -> None:
    """Set `sweep.search`, which sweep.yaml stores. The values of an earlier command may become more, not fewer.

    Raises `ConfigError` if there is nothing to search, and for `sweep.start_with` outside of the space; `RunError` if
    the folder holds another search.
    """
    space = search_space(expansion)
    refuse_unsearchable(space, settings)
    spaces = [
        {key: str(s) if isinstance(s, Distribution) else list(s) for key, s in grid.items()} for grid in space.grids
    ]
    now = {"search": settings["search"], "space": spaces[0] if len(spaces) == 1 else spaces}
    if sweep.search and sweep.search != now:
        before = sweep.search["space"]
        known = before if isinstance(before, list) else [before]
        if sweep.search["search"] != settings["search"] or not all(
            any(holds(new, old) for new in spaces) for old in known
        ):
            raise RunError(
                f"{sweep.path} holds another search ({sweep.search['search']} over {before}). "
                "Give this one a name of its own: sweep.name=..."
            )
        (sweep.state / "optuna.db").unlink(missing_ok=True)  # a study keeps its lists: it is made anew from the runs
    sweep.search = now


def refuse_unsearchable(space: SearchSpace, settings: Values) -> None:
    """Raise `ConfigError` where nothing is searched, and for settings of a search that do not go together."""
    problems = []
    if not any(space.grids):
        hint = "Give a key several values or a range: optimizer.lr='tag(log,interval(1e-4,1e-1))'."
        what = "there is nothing to search: no key is swept" + (" but the seed." if len(space.repeats) > 1 else ".")
        problems.append(Problem("sweep.search", what, hint))
    if len(space.repeats) > 1 and settings["pruner"] != "none":
        what = "a trial of several seeds is told as their mean: none of them can be pruned alone."
        problems.append(Problem("sweep.pruner", what, "Give one seed, or sweep.pruner=none."))
    for values in settings["start_with"]:
        if values and space_of(space.grids, values) is None:
            text = ", ".join(f"{key}: {as_text(value)}" for key, value in values.items())
            keys = dict.fromkeys(key for grid in space.grids for key in grid)
            what = f"{{{text}}} is not in the space of the search."
            problems.append(Problem("sweep.start_with", what, f"It is over {', '.join(keys)}."))
    if problems:
        raise ConfigError(problems)


def holds(new: Stored, old: Stored) -> bool:
    """Whether a space has all values of an older one, for the same keys."""
    return new.keys() == old.keys() and all(is_part(old[key], new[key]) for key in old)


def is_part(old: object, new: object) -> bool:
    """Whether stored values (a list, or a range as text) are all among others."""
    if isinstance(old, list) and isinstance(new, list):
        return {as_text(value) for value in old} <= {as_text(value) for value in new}
    ranges = [read_value(text) if isinstance(text, str) else None for text in (old, new)]
    one, other = ranges
    if not isinstance(one, Distribution) or not isinstance(other, Distribution):
        return False
    same = (one.log, one.integer, one.step) == (other.log, other.integer, other.step)
    return same and other.low <= one.low and one.high <= other.high

"""Compose YAML files and overrides into a checked `Config`.

    config = compose(["model=gru", "dataset=names", "optimizer.lr=0.1"])

Hydra's rules (see `hydra/layers.py`) are applied once for each choice of options, and the values of further overrides
are set on copies of the result: composing a job with Hydra itself takes forty times as long. All problems are collected
and reported at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

from dlrun.components import plugins
from dlrun.config.checks import check_values, nearest_key
from dlrun.config.config import Config, current_schema
from dlrun.config.overrides.grammar import Override, read_overrides
from dlrun.config.overrides.interpolate import hide, resolve_interpolations, show
from dlrun.config.overrides.values import Zipped, needs_quotes, read_value
from dlrun.config.schema.contract import format_yaml
from dlrun.config.schema.schema import GROUPS, Schema, config_dirs, settings_files
from dlrun.config.schema.words import key_of
from dlrun.config.section import thaw
from dlrun.errors import ConfigError, Problem
from dlrun.plain import say


class Sources(TypedDict, total=False):
    """Where YAML files and plug-ins come from, beside dlrun's own files, entry points and the user's settings."""

    config_dir: str | Path | None  # a folder that is searched first
    search_cwd: bool  # whether ./conf is searched, if it holds a dlrun.yaml (default: true)
    plugin_files: Sequence[str]  # Python files that are imported


def compose(overrides: Sequence[str] = (), **sources: Unpack[Sources]) -> Config:
    """Compose the configuration of one run. Raises `ConfigError` with every problem found."""
    return open_draft(overrides, **sources).single().config()


def overlay(own: Config, overrides: Sequence[str], *, plugin_files: Sequence[str] = ()) -> Config:
    """Apply overrides to a stored configuration, as `dlrun resume RUN KEY=VALUE` does.

    An override of a group replaces its whole section. Interpolations in the stored values are never resolved, since
    they may come from someone else. Raises `ConfigError` with every problem.
    """
    draft = open_draft(overrides, plugin_files=plugin_files).single()
    if draft.problems:
        raise ConfigError(draft.problems)
    kept: list[str] = []
    values = hide(own.to_dict(), kept)
    for word in draft.words:
        if word.is_group:
            values[word.key] = merged_files(draft.schema, ((word.key, word.value),))[word.key]
        elif problem := put(values, word, draft.schema):
            draft.problems.append(problem)
    return draft.config(values, kept)


def import_plugins(overrides: Sequence[str] = (), **sources: Unpack[Sources]) -> None:
    """Import plug-ins: entry points, those of the user's settings, of the overrides and of `plugin_files`.

    Raises `ConfigError` for one that cannot be imported.
    """
    _entry_points()
    plugins.load_settings(settings_files(_dirs(sources)))
    plugins.load_plugins(literal_plugins(overrides), "plugins")
    plugins.load_plugins(sources.get("plugin_files", ()), "--plugin")


def _dirs(sources: Sources) -> tuple[Path, ...]:
    return config_dirs(sources.get("config_dir"), sources.get("search_cwd", True))


@cache
def say_spelling(old: str, new: str) -> None:
    """Tell the user, once in a process, that a key has a new name. The old one is accepted for good."""
    say(f"note: {old} is spelled {new} now", file=sys.stderr)


@lru_cache(maxsize=1)
def _entry_points() -> None:
    plugins.load_entry_points()


def literal_plugins(overrides: Iterable[str]) -> list[str]:
    """The plug-ins that the last override `plugins=[...]` names, and those that `plugins+=[...]` adds to them."""
    names: list[object] = []
    for key, _, text in (word.lstrip("+").partition("=") for word in overrides):
        if key in ("plugins", "plugins+") and isinstance(value := read_value(text), list):
            names = [*(names if key == "plugins+" else []), *value]
    return [name for name in names if isinstance(name, str)]


@dataclass
class Draft:
    """Parsed overrides with the schema that they belong to, and the problems found so far.

    `is_one_run` says that they describe one run, though the experiment has `sweep.params`.
    """

    schema: Schema
    words: list[Override]
    problems: list[Problem] = field(default_factory=list)
    is_one_run: bool = False

    @property
    def wrong(self) -> frozenset[str]:
        """Groups whose option is a problem already, so that their keys are not checked."""
        return frozenset(problem.key for problem in self.problems if problem.key in GROUPS)

    @property
    def choices(self) -> dict[str, str | None]:
        """The option that the overrides choose for each group."""
        return {word.key: word.value for word in self.words if word.is_group and not word.is_sweep}

    def single(self) -> Draft:
        """The draft of a single run: overrides with several values become problems."""
        several = [word for word in self.words if word.is_sweep]
        rest = [word for word in self.words if not word.is_sweep]
        return Draft(self.schema, rest, [*self.problems, *(_several(word, self.schema) for word in several)])

    def values(self) -> dict[str, Any]:
        """Merge files and overrides; interpolations are kept. Raises `ConfigError` for errors in the files.

        Sections that no override changes are those of `merged_files`: copy before changing.
        """
        words = [word for word in self.words if not word.is_group and not word.is_sweep]
        changed = {word.key.partition(".")[0] for word in words}
        merged = merged_files(self.schema, tuple(self.choices.items()))
        values = {key: thaw(value) if key in changed else value for key, value in merged.items()}
        for word in words:
            problem = put(values, word, self.schema)
            self.problems += [problem] if problem else []
        return values

    def checked(
        self, values: dict[str, Any] | None = None, kept: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[Problem]]:
        """Resolve and check `values` (default: those of files and overrides). Returns them with every problem.

        `kept` are the texts that `hide` has replaced in `values`.
        """
        try:
            values = self.values() if values is None else values
        except ConfigError as error:
            return {}, [*self.problems, *error.problems]
        values, unresolved = resolve_interpolations(values)
        values = show(values, kept)
        raws = {word.key: word.raw for word in self.words if not word.is_group and word.raw == word.raw.strip("'\"")}
        clean, wrong = check_values(values, self.schema, raws, self.wrong)
        known = {problem.key for problem in [*self.problems, *unresolved]}
        wrong = [problem for problem in wrong if problem.key not in known]
        return clean, [*self.problems, *unresolved, *wrong, *_unloaded(clean)]

    def config(self, values: dict[str, Any] | None = None, kept: Sequence[str] = ()) -> Config:
        """Check the values and freeze them as a `Config`. Raises `ConfigError` with every problem."""
        clean, problems = self.checked(values, kept)
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return Config(clean)


def open_draft(overrides: Sequence[str], **sources: Unpack[Sources]) -> Draft:
    """Import plug-ins, and parse the overrides with the resulting schema. Raises `ConfigError`."""
    import_plugins(overrides, **sources)
    schema = current_schema(_dirs(sources))
    for key in map(key_of, overrides):
        if schema.today(key) != key:
            say_spelling(key, schema.today(key))
    return read_draft(overrides, schema)


def read_draft(overrides: Sequence[str], schema: Schema) -> Draft:
    """Parse overrides; those that cannot be parsed are among the draft's problems."""
    words, problems = read_overrides(list(overrides), schema)
    return Draft(schema, words, problems)


@lru_cache(maxsize=512)
def merged_files(schema: Schema, chosen: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
    """The merged values of all files for these options. They are cached: copy before changing. Raises `ConfigError`."""
    from dlrun.config.hydra.layers import merge

    return merge(layers_of(schema, dict(chosen)))


def layers_of(schema: Schema, chosen: dict[str, str | None]) -> list[Any]:
    """The files that apply to these options, weakest first.

    Where an experiment sweeps a group, its values for that group apply to every option of the sweep.
    """
    from dlrun.config.hydra.layers import merge, stack

    layers = stack(chosen, schema)
    swept = frozenset(key for grid in grids_in(merge(layers)) for key in grid) & frozenset(chosen)
    return stack(chosen, schema, swept) if swept else layers


def grids_in(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The grids in `sweep.params`: a dict is one, a list holds several."""
    section = values.get("sweep")
    found = section.get("params") if isinstance(section, dict) else None
    return [grid for grid in (found if isinstance(found, list) else [found]) if isinstance(grid, dict) and grid]


def put(values: dict[str, Any], word: Override, schema: Schema) -> Problem | None:
    """Apply one override in place, as Hydra does: a dict is merged, everything else is replaced."""
    from dlrun.config.hydra.layers import merge_into

    *above, last = word.key.split(".")
    place: Any = values
    new = thaw(word.value)
    for part in above:
        if isinstance(place, list):
            place = place[int(part)] if part.isdigit() and int(part) < len(place) else None
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
    if word.appends:
        if not isinstance(place, dict) or not isinstance(place.get(last), list):
            return Problem(word.key, "is no list that can be added to.", f"Set it: {word.key}={format_yaml(new)}")
        place[last] = [*place[last], *new]
    elif isinstance(place, list) and last.isdigit() and int(last) < len(place):
        place[int(last)] = new
    elif isinstance(place, dict):
        merge_into(place, {last: new})
    else:
        return Problem(word.key, "unknown key.", nearest_key(word.key, schema))
    return None


def _several(word: Override, schema: Schema) -> Problem:
    """The problem of several values without -m: the user means a sweep, a list, or a text with a comma in it."""
    hint = f"To run each of them: dlrun -m {shlex.quote(word.text) if isinstance(word.value, Zipped) else word.text}"
    contract = schema.contract(word.key)
    if contract and contract.takes_text:
        hint += f"  To mean the text: {word.key}={needs_quotes(word.raw)}"
    elif contract and contract.has("list"):
        hint += f"  To mean a list: {word.key}=[{word.raw}]"
    return Problem(word.key, f"{word.raw} is more than one value.", hint)


def _unloaded(clean: dict[str, Any]) -> list[Problem]:
    """A problem if an experiment names plug-ins: only the command line and the user's settings import code."""
    names = clean.get("plugins", [])
    missing = [name for name in names if not plugins.is_loaded(name)] if isinstance(names, list | tuple) else []
    if not missing:
        return []
    hint = f"Give it on the command line: plugins={format_yaml(missing)}, or put it into ./conf/dlrun.yaml."
    return [Problem("plugins", f"{format_yaml(missing)} is named by an experiment, which imports nothing.", hint)]

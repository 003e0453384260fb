"""From the words of the command line and the YAML files to a checked `Config`.

    config = compose(["model=gru", "dataset=names", "optimizer.lr=0.1"])

Files are found by Hydra's rules (`layers`) once for each choice of groups; values are set on copies, which is what
Hydra would do forty times slower. Every problem is collected and reported at once.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from dlrun.components import plugins
from dlrun.config.checks import check, nearest_key
from dlrun.config.config import Config, current_schema
from dlrun.config.overrides.grammar import Override, read_overrides
from dlrun.config.overrides.interpolate import hide, resolve, show
from dlrun.config.overrides.values import needs_quotes, read_value
from dlrun.config.schema.contract import format_yaml
from dlrun.config.schema.schema import GROUPS, Schema, config_dirs, settings_files
from dlrun.config.schema.words import key_of
from dlrun.errors import ConfigError, Problem
from dlrun.plain import say


def compose(
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    search_cwd: bool = True,
    plugin_files: Sequence[str] = (),
) -> Config:
    """The configuration that these override words make.

    `config_dir` is searched before dlrun's own files, and so is ./conf if it holds a dlrun.yaml (unless
    `search_cwd` is false). Raises `ConfigError` with every problem found.
    """
    draft = open_draft(overrides, config_dir=config_dir, search_cwd=search_cwd, plugin_files=plugin_files)
    return draft.single().config()


def overlay(own: Config, overrides: Sequence[str], *, plugin_files: Sequence[str] = ()) -> Config:
    """A finished configuration (a run's own) with some words set on it: what `dlrun resume RUN KEY=VALUE` means.

    A group takes the chosen option as a whole; everything else stays, and is never resolved: only the words are this
    user's. Raises `ConfigError` with every problem.
    """
    draft = open_draft(overrides, plugin_files=plugin_files).single()
    if draft.problems:
        raise ConfigError(draft.problems)
    kept: list[str] = []
    values = hide(own.to_dict(), kept)
    for word in draft.words:
        if word.is_group:
            values[word.key] = base(draft.schema, ((word.key, word.value),))[word.key]
        elif problem := put(values, word, draft.schema):
            draft.problems.append(problem)
    return draft.config(values, kept)


def import_plugins(
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    search_cwd: bool = True,
    plugin_files: Sequence[str] = (),
) -> None:
    """Import the plug-ins that are to be imported. Raises `ConfigError`."""
    _entry_points()
    plugins.load_settings(settings_files(config_dirs(config_dir, search_cwd)))
    plugins.load(literal_plugins(overrides), "plugins")
    plugins.load(plugin_files, "--plugin")


@cache
def say_spelling(old: str, new: str) -> None:
    """Once in a process: the word is taken, and will be in time to come."""
    say(f"note: {old} is spelled {new} now", file=sys.stderr)


@lru_cache(maxsize=1)
def _entry_points() -> None:
    plugins.load_entry_points()


def literal_plugins(overrides: Iterable[str]) -> list[str]:
    """The files that a literal `plugins=[...]` names (the last one, as always)."""
    values = [read_value(word.split("=", 1)[1]) for word in overrides if word.lstrip("+").startswith("plugins=")]
    return [name for name in values[-1] if isinstance(name, str)] if values and isinstance(values[-1], list) else []


@dataclass
class Draft:
    """Words on their way to a configuration: what is chosen, what is set, what is wrong so far."""

    schema: Schema
    words: list[Override]
    problems: list[Problem] = field(default_factory=list)

    @property
    def wrong(self) -> frozenset[str]:
        """The groups whose choice is a problem already: their keys are not checked."""
        return frozenset(problem.key for problem in self.problems if problem.key in GROUPS)

    @property
    def choices(self) -> dict[str, str | None]:
        """The options chosen by these words."""
        return {word.key: word.value for word in self.words if word.is_group and not word.is_sweep}

    def single(self) -> Draft:
        """Without the words that name several values: each becomes a problem."""
        several = [word for word in self.words if word.is_sweep]
        rest = [word for word in self.words if not word.is_sweep]
        return Draft(self.schema, rest, [*self.problems, *(_several(word, self.schema) for word in several)])

    def values(self) -> dict[str, Any]:
        """Everything merged, before interpolation and checks. Raises `ConfigError` when files are at fault."""
        values = copy.deepcopy(base(self.schema, tuple(self.choices.items())))
        for word in self.words:
            if not word.is_group and not word.is_sweep:
                problem = put(values, word, self.schema)
                self.problems += [problem] if problem else []
        return values

    def checked(
        self, values: dict[str, Any] | None = None, kept: Sequence[str] = ()
    ) -> tuple[dict[str, Any], list[Problem]]:
        """The clean values (of these, else of the files and words) and every problem. `kept`: see `hide`."""
        try:
            values = self.values() if values is None else values
        except ConfigError as error:
            return {}, [*self.problems, *error.problems]
        values, unresolved = resolve(values)
        values = show(values, kept)
        raws = {word.key: word.raw for word in self.words if not word.is_group and word.raw == word.raw.strip("'\"")}
        clean, wrong = check(values, self.schema, raws, self.wrong)
        known = {problem.key for problem in [*self.problems, *unresolved]}
        wrong = [problem for problem in wrong if problem.key not in known]
        return clean, [*self.problems, *unresolved, *wrong, *_unloaded(clean)]

    def config(self, values: dict[str, Any] | None = None, kept: Sequence[str] = ()) -> Config:
        """The configuration. Raises `ConfigError` with every problem."""
        clean, problems = self.checked(values, kept)
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return Config(clean)


def open_draft(
    overrides: Sequence[str],
    *,
    config_dir: str | Path | None = None,
    search_cwd: bool = True,
    plugin_files: Sequence[str] = (),
) -> Draft:
    """The words as a draft, read by the files and the plug-ins that they name. Raises `ConfigError`."""
    import_plugins(overrides, config_dir=config_dir, search_cwd=search_cwd, plugin_files=plugin_files)
    schema = current_schema(config_dir, search_cwd)
    for key in map(key_of, overrides):
        if schema.today(key) != key:
            say_spelling(key, schema.today(key))
    return read_draft(overrides, schema)


def read_draft(overrides: Sequence[str], schema: Schema) -> Draft:
    """The words as a draft; what cannot be read is among its problems."""
    words, problems = read_overrides(list(overrides), schema)
    return Draft(schema, words, problems)


@lru_cache(maxsize=512)
def base(schema: Schema, chosen: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
    """All files for these options in one; do not change it. Raises `ConfigError`."""
    from dlrun.config.hydra.layers import merge

    return merge(layers_of(schema, dict(chosen)))


def layers_of(schema: Schema, chosen: dict[str, str | None]) -> list[Any]:
    """The stack of files for these options; an experiment that sweeps a group means its values for every option."""
    from dlrun.config.hydra.layers import merge, stack

    layers = stack(chosen, schema)
    sweep = merge(layers).get("sweep")
    params = sweep.get("params") if isinstance(sweep, dict) else None
    swept = frozenset(params or ()) & frozenset(chosen) if isinstance(params, dict) else frozenset()
    return stack(chosen, schema, swept) if swept else layers


def put(values: dict[str, Any], word: Override, schema: Schema) -> Problem | None:
    """Set one value in place, as Hydra does: a dict is merged, everything else replaced."""
    from dlrun.config.hydra.layers import merge_into

    *above, last = word.key.split(".")
    place: Any = values
    new = copy.deepcopy(word.value)
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
    """Several values without -m: a sweep, or a text with a comma in it."""
    hint = f"To run each of them: dlrun -m {word.text}"
    contract = schema.contract(word.key)
    if contract and contract.takes_text:
        hint += f"  To mean the text: {word.key}={needs_quotes(word.raw)}"
    elif contract and contract.has("list"):
        hint += f"  To mean a list: {word.key}=[{word.raw}]"
    return Problem(word.key, f"{word.raw} is more than one value.", hint)


def _unloaded(clean: dict[str, Any]) -> list[Problem]:
    """Plug-ins that a file other than the user's settings names are not imported on its word."""
    names = clean.get("plugins", [])
    missing = [name for name in names if not plugins.is_loaded(name)] if isinstance(names, list) else []
    hint = f"Give it on the command line: plugins={format_yaml(missing)}, or put it into ./conf/dlrun.yaml."
    return (
        [Problem("plugins", f"{format_yaml(missing)} is named by an experiment, which imports nothing.", hint)]
        if missing
        else []
    )

"""The YAML files that make up a configuration, as Hydra orders them.

Hydra resolves the `defaults` lists and the `@package` of each file. The result is a list of layers, each a plain
dictionary, of which a later one overrides an earlier one; `explain` shows where each value comes from. Hydra's global
state is neither used nor left changed.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from dlrun.config.hydra.rules import hydra_rules
from dlrun.config.hydra.source import SchemaSource, check_file, repository
from dlrun.config.schema import yamls
from dlrun.config.schema.comments import short_path
from dlrun.config.schema.schema import COMPONENTS, GROUPS, PRIMARY, Schema, settings_files
from dlrun.config.schema.words import respelled
from dlrun.errors import ConfigError, Problem, allowed_words, did_you_mean

GroupChoices = dict[str, str | None]  # the option of each group


@dataclass(frozen=True)
class Layer:
    """The values of one file, nested as in the whole configuration: `{"optimizer": {"lr": 0.1}}`."""

    source: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The content of a ./conf/dlrun.yaml: options that replace those of the primary config, and values."""

    source: str
    choices: GroupChoices
    values: dict[str, Any]


def stack(choices: GroupChoices, schema: Schema, swept_by_experiment: frozenset[str] = frozenset()) -> list[Layer]:
    """The layers for these options, weakest first. Raises `ConfigError`.

    `choices` are those of the command line. The experiment's values for such a group are left out, unless the
    experiment itself sweeps that group: then they are meant for every option.
    """
    files, chosen = _files(choices, schema)
    names = {group: {"name": _component(group, option, schema)} for group, option in chosen.items()}
    layers: list[Layer] = []
    for path, package, from_experiment in files:
        source, settings, usual = _reader(schema)
        option = source.option(path)
        values = _embed(source.values(path), package)
        if from_experiment:
            hidden = {group for group in choices if group not in swept_by_experiment}
            values = {key: value for key, value in values.items() if key not in hidden}
        layers.append(Layer(option.source if option else path, respelled(values, schema, names)))
        if path == PRIMARY:
            own = [(s.source, respelled(s.values, schema, names)) for s in settings]
            layers += [Layer(name, _fitting(values, chosen, usual, schema)) for name, values in own]
    return layers


def _component(group: str, name: str | None, schema: Schema) -> str:
    """The component of a group's option, or the empty string if there is no such option."""
    option = schema.options(group).get(name or "") if group in GROUPS else None
    return schema.full(option).component if option else ""


def merge(layers: list[Layer]) -> dict[str, Any]:
    """Merge layers: sections are merged, everything else is replaced."""
    whole: dict[str, Any] = {}
    for layer in layers:
        merge_into(whole, layer.values)
    return whole


def merge_into(whole: dict[str, Any], values: dict[str, Any]) -> None:
    """Merge a copy of `values` into `whole`, in place."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            merge_into(whole[key], value)
        else:
            whole[key] = copy.deepcopy(value)


def _files(choices: GroupChoices, schema: Schema) -> tuple[list[tuple[str, str, bool]], GroupChoices]:
    """The files that the defaults lists lead to (path, package, whether it is an experiment's), and the options."""
    overrides = [
        Override(OverrideType.CHANGE, group, ValueType.ELEMENT, option)
        for group, option in choices.items()
        if option is not None  # Hydra takes no `null` for a group; our only one is the experiment, null anyway
    ]
    with hydra_rules():
        try:
            found = create_defaults_list(
                _repository(schema), PRIMARY, overrides, prepend_hydra=False, skip_missing=False
            )
        except MissingConfigException as error:
            raise ConfigError(_missing(error, schema)) from None
        except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
            text = "a loop of defaults" if isinstance(error, RecursionError) else " ".join(str(error).split())
            raise ConfigError(Problem("conf", f"the defaults lists cannot be followed: {text}")) from None
    files = []
    for default in found.defaults:
        inside = f"{default.config_path} {default.parent}"
        files.append((str(default.config_path), default.package or "", "experiment/" in inside))
    return files, found.overrides.known_choices


@lru_cache(maxsize=8)
def _reader(schema: Schema) -> tuple[SchemaSource, list[Settings], GroupChoices]:
    """The source of a schema's files, the user's settings, and the default options of all groups."""
    settings = [_read_settings(schema, str(path)) for path in settings_files(schema.dirs)]
    usual = {group: option for s in settings for group, option in s.choices.items()}
    source = SchemaSource(schema, usual)
    primary = yamls.load_file(schema.primary_option.path) if schema.primary_option.path else {}
    ours = {k: v for item in primary["defaults"] if isinstance(item, dict) for k, v in item.items()}
    return source, settings, {**ours, **usual}


@lru_cache(maxsize=8)
def _repository(schema: Schema) -> CachingConfigRepository:
    return repository(_reader(schema)[0])


def _read_settings(schema: Schema, path: str) -> Settings:
    """Read a dlrun.yaml. Options are given as `model: gru`, or in a `defaults` list as in any Hydra file."""
    source = short_path(Path(path))
    values = yamls.load_file(Path(path)) or {}
    check_file(values, source)
    choices: GroupChoices = {}
    for item in values.pop("defaults", []):
        if isinstance(item, dict):
            choices.update({key.split()[-1].lstrip("/"): option for key, option in item.items()})
        elif item != "_self_":
            raise ConfigError(Problem(source, f"`defaults` may only choose options of groups, not {item!r}."))
    for group in [key for key in values if key in GROUPS and isinstance(values[key], str)]:
        choices[group] = values.pop(group)
    for group, option in choices.items():
        if group not in GROUPS:
            raise ConfigError(Problem(source, f"there is no group {group!r}.", did_you_mean(group, GROUPS)))
        if option is not None and option not in schema.options(group):
            hint = allowed_words(option, schema.options(group))
            raise ConfigError(Problem(source, f"there is no {group} option {option!r}.", hint))
    return Settings(source, choices, values)


def _fitting(values: dict[str, Any], chosen: GroupChoices, usual: GroupChoices, schema: Schema) -> dict[str, Any]:
    """The user's settings that apply to the chosen options.

    Settings are written for the default options. For any other option, the keys that it sets itself take precedence:
    `trainer=smoke` has its own batch size, while `device=cpu` keeps the user's `device.threads`. The settings of one
    component do not apply to another.
    """
    fitting = dict(values)
    for group in GROUPS:
        option = schema.options(group).get(chosen.get(group) or "")
        if option is None or chosen[group] == usual.get(group) or not isinstance(values.get(group), dict):
            continue
        chain = list(schema.chain(option))
        names = [o.name for o in chain]
        common = names.index(usual[group] or "") if usual.get(group) in names else None
        if common is None and group in COMPONENTS:
            fitting.pop(group)
        else:
            said = {key for o in chain[: -1 if common is None else common] for key in o.keys}
            fitting[group] = _without(values[group], said)
    return fitting


def _without(values: dict[str, Any], keys: set[str], prefix: str = "") -> dict[str, Any]:
    """A section without these dotted keys."""
    rest = {}
    for key, value in values.items():
        if prefix + key not in keys:
            rest[key] = _without(value, keys, f"{prefix}{key}.") if isinstance(value, dict) else value
    return rest


def _embed(values: dict[str, Any], package: str) -> dict[str, Any]:
    """Nest values as their package says: `optimizer` gives `{"optimizer": values}`."""
    for part in reversed([p for p in package.split(".") if p and p != "_global_"]):
        values = {part: values}
    return values


def _missing(error: MissingConfigException, schema: Schema) -> Problem:
    """The problem of a `defaults` list that names a file which does not exist."""
    where = re.search(r"In '([^']+)'", str(error))
    group, _, name = str(error.missing_cfg_file).partition("/")
    option = _reader(schema)[0].option(where[1]) if where else None
    source = option.source if option else "conf"
    if group not in GROUPS:
        return Problem(source, f"`defaults` names {error.missing_cfg_file!r}, which is not there.")
    hint = allowed_words(name, schema.options(group))
    return Problem(source, f"`defaults` names the {group} option {name!r}, which is not there.", hint)

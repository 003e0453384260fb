"""`Schema`: the groups, their options, and what each key accepts; and the folders of YAML files that it is read from.

Neither Hydra nor torch nor a YAML parser is needed, so that `dlrun --help`, `list` and completion are fast.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from dlrun.config.schema.comments import Key, Option, builtin_conf, read_option, short_path
from dlrun.config.schema.contract import Contract
from dlrun.config.schema.effects import RESULT, Effect
from dlrun.config.schema.merged import former_names, inheriting, over, shadow
from dlrun.errors import ConfigError, Problem

PRIMARY = "dlrun_primary"
SETTINGS = "dlrun.yaml"
GROUPS = {  # in the order of the primary config, with the plural that `dlrun list` takes
    "model": "models",
    "dataset": "datasets",
    "loss": "losses",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
    "device": "devices",
    "trainer": "trainers",
    "checkpoint": "checkpoints",
    "logger": "loggers",
    "experiment": "experiments",
}
COMPONENTS = (
    "model",
    "dataset",
    "loss",
    "optimizer",
    "scheduler",
    "logger",
)  # the groups whose `name` is in a registry


_CONFIG_DIR: list[str | Path] = []  # the folder of `--config-dir`, if it was given


def set_config_dir(config_dir: str | Path | None) -> None:
    """Search this folder first in this process, as `--config-dir` says. Raises `ConfigError` if it cannot be used."""
    _CONFIG_DIR.clear()
    if config_dir is not None:
        config_dirs(config_dir)
        _CONFIG_DIR.append(config_dir)


def config_dirs(config_dir: str | Path | None = None, search_cwd: bool = True) -> tuple[Path, ...]:
    """The folders of YAML files: `config_dir`, ./conf if it holds a dlrun.yaml, and dlrun's own.

    Of files with the same name, that of the first folder is used. Raises `ConfigError` for an unsuitable `config_dir`.
    """
    dirs: list[Path] = []
    config_dir = config_dir or next(iter(_CONFIG_DIR), None)
    if config_dir is not None:
        given = Path(os.path.expanduser(config_dir))
        if not os.path.isdir(given):
            raise ConfigError(Problem("--config-dir", f"{config_dir} is not a folder."))
        if not holds_options(given) and not any((given / name).is_file() for name in (SETTINGS, f"{PRIMARY}.yaml")):
            what = f"{config_dir} holds no file of dlrun's: neither GROUP/OPTION.yaml nor {SETTINGS}."
            raise ConfigError(Problem("--config-dir", what, f"Groups: {', '.join(GROUPS)}."))
        dirs.append(given.resolve())
    own = Path.cwd() / "conf"
    if search_cwd and (own / SETTINGS).is_file():
        dirs.append(own.resolve())
    return tuple(dict.fromkeys([*dirs, builtin_conf()]))


def holds_options(folder: Path) -> bool:
    """Whether the folder holds an option of a group, such as `optimizer/mine.yaml`."""
    return any(next((folder / group).rglob("*.yaml"), None) is not None for group in GROUPS)


def unread_conf() -> str:
    """A note if ./conf holds options that are not read, since there is no dlrun.yaml in it; else empty."""
    own = Path.cwd() / "conf"
    if (own / SETTINGS).is_file() or own.resolve() == builtin_conf() or not holds_options(own):
        return ""
    if own.resolve() in [Path(os.path.expanduser(folder)).resolve() for folder in _CONFIG_DIR]:
        return ""
    return f"note: ./conf is not read: put a {SETTINGS} into it (it may be empty), or give --config-dir conf"


def settings_files(dirs: Iterable[Path]) -> list[Path]:
    """The user's dlrun.yaml files, weakest first."""
    return [path for d in reversed(list(dirs)) if (path := d / SETTINGS).is_file() and d != builtin_conf()]


class Schema:
    """The groups, options and keys in some folders of YAML files. `read_schema` makes and caches it."""

    def __init__(self, dirs: tuple[Path, ...], extra: tuple[Option, ...] = ()) -> None:
        self.dirs, self.extra = dirs, extra
        self._groups: dict[str, dict[str, Option]] = {}
        self._effects: dict[tuple[str, str], Effect] = {}
        self._former: dict[tuple[str, str], dict[str, str]] = {}
        self.section = cache(self._section)

    def options(self, group: str) -> dict[str, Option]:
        """The options of a group by name, sorted. Of options with the same name, that of the first folder is used."""
        if group not in self._groups:
            found = {option.name: option for option in self.extra if option.group == group}
            for folder in reversed(self.dirs):
                for path in sorted((folder / group).rglob("*.yaml")):
                    name = path.relative_to(folder / group).with_suffix("").as_posix()
                    found[name] = shadow(read_option(path, group, name, folder), found.get(name))
            self._groups[group] = dict(sorted(found.items()))
        return self._groups[group]

    def add_file(self, group: str, path: Path) -> str:
        """Add a file as an option (`experiment=PATH.yaml`), and return the option's name. Raises `ConfigError`."""
        options = self.options(group)
        name = path.stem
        if name in options and options[name].path != path:
            name = f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        found = read_option(path, group, name, path.parent)
        if {f"{part}.name" for part in COMPONENTS} <= set(found.keys):
            hint = f"To repeat it: dlrun rerun {short_path(path)}"
            raise ConfigError(Problem(group, f"{short_path(path)} is the whole configuration of a run.", hint))
        options[name] = found
        self.section.cache_clear()
        return name

    def chain(self, option: Option, seen: tuple[str, ...] = ()) -> Iterator[Option]:
        """The option and its bases (`defaults`), nearest first. A cycle of bases is cut."""
        yield option
        for base in option.bases:
            below = self.options(option.group).get(base)
            if below and base not in seen:
                yield from self.chain(below, (*seen, option.name))

    def full(self, option: Option) -> Option:
        """The option with the keys, contracts and headers that it inherits from its bases."""
        keys: dict[str, Key] = {}
        headers: dict[str, str] = {}
        for part in reversed(list(self.chain(option))):
            headers.update(part.headers)
            keys = over(keys, part.keys)
        return replace(option, keys=keys, headers=headers)

    @cached_property
    def primary(self) -> dict[str, Key]:
        """The keys that belong to no group: `seed`, `run.dir`, `sweep.params`, ..."""
        ours = read_option(builtin_conf() / f"{PRIMARY}.yaml", "", PRIMARY, builtin_conf()).keys
        return {name: inheriting(key, ours.get(name)) for name, key in self.primary_option.keys.items()}

    @cached_property
    def primary_option(self) -> Option:
        """The primary config of the first folder that has one."""
        folder = next(d for d in self.dirs if (d / f"{PRIMARY}.yaml").is_file())
        return read_option(folder / f"{PRIMARY}.yaml", "", PRIMARY, folder)

    @cached_property
    def groups(self) -> dict[str, tuple[str, str]]:
        """The default option and a description of each group, from the primary config's defaults list."""
        found = dict.fromkeys(GROUPS, ("", ""))
        path = self.primary_option.path
        for line in path.read_text(encoding="utf-8").splitlines() if path else ():
            match = re.match(r"^\s+- (\w+): (\S+)\s*(?:#\s*(.*))?$", line)
            if match and match[1] in found:
                found[match[1]] = (match[2], match[3] or "")
        return found

    def _section(self, group: str, name: str) -> Option | None:
        """The option that describes the section of a group by the component `name`; None if there is no such one.

        All options of the other groups (trainer, device) share one set of keys.
        """
        options = self.options(group)
        if group in COMPONENTS:
            same = [option for option in options.values() if option.component == name]
            same.sort(key=lambda option: (option.name != name, len(option.bases)))
            return self.full(same[0]) if same else None
        keys: dict[str, Key] = {}
        usual = self.groups[group][0]
        for option in sorted(options.values(), key=lambda option: option.name != usual):
            for key, new in self.full(option).keys.items():
                known = keys.get(key)
                keys[key] = inheriting(known, new) if known and known.contract else inheriting(new, known)
        return Option(group, name, "", keys=keys)

    def contract(self, dotted: str) -> Contract | None:
        """The contract of a dotted key, taken from the first option that has the key."""
        if dotted in self.primary:
            return self.primary[dotted].contract
        group, _, key = dotted.partition(".")
        for option in self.options(group).values() if group in GROUPS else ():
            info = self.full(option).keys.get(key)
            if info and info.contract:
                return info.contract
        return None

    def effect(self, dotted: str, config: Mapping[str, Any] | None = None) -> Effect:
        """The effect of a dotted key, or of the choice of a group.

        It is that of the component that `config` chooses, or without one that of all components that have the key. An
        unknown key, of a later version for instance, has the effect that all keys of its section share.
        """
        component = _component(dotted, config)
        if (dotted, component) not in self._effects:
            found = {info.contract.effect if info.contract else RESULT for info in self._lines(dotted, component)}
            self._effects[dotted, component] = found.pop() if len(found) == 1 else RESULT
        return self._effects[dotted, component]

    def _lines(self, dotted: str, component: str) -> list[Key]:
        """The key itself, else the dict that it is an item of, else all keys of its section."""
        group, _, rest = dotted.partition(".")
        tables = self._tables(group, component)
        names, section = ([rest], "") if group in GROUPS else ([dotted], f"{group}.")
        while "." in names[-1]:
            names.append(names[-1].rpartition(".")[0])
        for name in names:
            if found := [keys[name] for keys in tables if name in keys]:
                return found
        return [info for keys in tables for key, info in keys.items() if key.startswith(section)]

    def _tables(self, group: str, component: str) -> list[dict[str, Key]]:
        """The keys of a group for one component, or for each if none is given; the primary config's for no group."""
        if group not in GROUPS:
            return [self.primary]
        if component or group not in COMPONENTS:
            one = self.section(group, component)
            return [one.keys] if one else []
        return [self.full(option).keys for option in self.options(group).values()]

    def today(self, dotted: str, config: Mapping[str, Any] | None = None) -> str:
        """The present name of a dotted key: `dataset.standardize` for `dataset.standardise`.

        A name that is a key of the component that `config` chooses (without one, of any component) is returned as it
        is.
        """
        group, _, rest = dotted.partition(".")
        if group in GROUPS and not rest:
            return dotted
        place = (group if group in GROUPS else "", _component(dotted, config))
        if place not in self._former:
            tables = self._tables(*place)
            self._former[place] = {old: new for keys in tables for old, new in former_names(keys).items()}
            for key in (key for keys in tables for key in keys):
                self._former[place].pop(key, None)
        former = self._former[place]
        return f"{group}.{former.get(rest, rest)}" if place[0] else former.get(dotted, dotted)


def _component(dotted: str, config: Mapping[str, Any] | None) -> str:
    """The component that a configuration chooses for the group of a key; empty if it chooses none."""
    group = dotted.partition(".")[0]
    section = (config or {}).get(group) if group in COMPONENTS else None
    return str(section.get("name", "")) if isinstance(section, Mapping) else ""


def all_keys(schema: Schema) -> list[str]:
    """All groups and dotted keys."""
    options = [(g, option) for g in GROUPS if g != "experiment" for option in schema.options(g).values()]
    return list(dict.fromkeys([*GROUPS, *schema.primary, *(f"{g}.{key}" for g, o in options for key in o.keys)]))


def fingerprint(dirs: tuple[Path, ...]) -> tuple[tuple[str, int, int], ...]:
    """Path, modification time and size of each YAML file in some folders, which change when a file does."""
    found = []
    for place in (place for folder in dirs for place in (folder, *(folder / group for group in GROUPS))):
        for above, below, names in os.walk(place):  # half of a composition would be spent in Path.rglob
            below[:] = [] if place in dirs else sorted(below)
            paths = (f"{above}/{name}" for name in sorted(names) if name.endswith(".yaml"))
            found += [(path, (stat := os.stat(path)).st_mtime_ns, stat.st_size) for path in paths]
    return tuple(found)


def text_schema() -> Schema:
    """The schema of the YAML files, read once, for help, completion and reports: they import no plug-ins."""
    return _text_schema(_dirs_here(os.getcwd(), os.path.isfile(f"conf/{SETTINGS}"), tuple(_CONFIG_DIR)))


# Looked up once for a working folder: reports ask for the schema several times for each run.
_dirs_here = lru_cache(maxsize=8)(lambda folder, has_own, given: config_dirs())
_text_schema = lru_cache(maxsize=8)(Schema)
_CACHE: dict[object, Schema] = {}


def read_schema(dirs: tuple[Path, ...], extra: tuple[Option, ...] = ()) -> Schema:
    """The schema of these folders as they are now, with the options of plug-ins (`extra`). It is cached."""
    state = (dirs, fingerprint(dirs), tuple((o.group, o.name, repr(o.keys)) for o in extra))
    if state not in _CACHE:
        if len(_CACHE) >= 8:
            _CACHE.pop(next(iter(_CACHE)))
        _CACHE[state] = Schema(dirs, extra)
    return _CACHE[state]

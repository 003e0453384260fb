"""Parse overrides: `GROUP=OPTION`, `KEY=VALUE`, `KEY+=[...]`, `~scheduler`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dlrun.config.overrides.other_tools import option_hint
from dlrun.config.overrides.values import Choices, Distribution, Globbed, Zipped, read_value, split_items
from dlrun.config.schema.contract import format_yaml, is_unicode
from dlrun.config.schema.schema import COMPONENTS, GROUPS, Schema
from dlrun.errors import ConfigError, Problem, an, did_you_mean

OFF = {"scheduler": "none", "logger": "default", "experiment": None}  # the option that `~GROUP` and `GROUP=null` choose
HYDRA_KEYS = {
    "hydra.run.dir": "run.dir",
    "hydra.job.name": "run.name",
    "hydra.sweep.dir": "sweep.dir",
    "hydra.sweep.subdir": "sweep.dir",
    "hydra.sweeper.params": "sweep.params",
    "hydra.launcher.n_jobs": "sweep.workers",
    "hydra.searchpath": "--config-dir",
    "hydra.mode": "-m",
    "hydra/launcher": "sweep.executor",
    "hydra/sweeper": "sweep.search",
    "hydra/job_logging": "--quiet",
    "hydra/hydra_logging": "--quiet",
}


@dataclass(frozen=True)
class Override:
    """One override of a group or of a dotted key.

    Args:
        text: the override as it was typed, with the key's present spelling.
        key: a group or a dotted key.
        value: the option of the group (None for none) or the value of the key: plain values, or `Choices` or a
            `Distribution` for a sweep; `Zipped` for several keys at once, whose key is `zip`.
        raw: the value as it was typed.
        appends: whether the value is added to the list that the key holds (`key+=[...]`).
    """

    text: str
    key: str
    value: Any
    raw: str = ""
    appends: bool = False

    @property
    def is_group(self) -> bool:
        """Whether the override chooses an option of a group."""
        return self.key in GROUPS

    @property
    def is_sweep(self) -> bool:
        """Whether the override gives several values."""
        return isinstance(self.value, (Choices, Distribution, Zipped))


def read_overrides(texts: list[str], schema: Schema) -> tuple[list[Override], list[Problem]]:
    """Parse overrides. Returns them with the problems of those that cannot be parsed."""
    words: list[Override] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            words += read_word(text, schema)
        except ConfigError as error:
            problems += error.problems
    return words, problems


def read_word(text: str, schema: Schema) -> list[Override]:
    """Parse one override, which may stand for two: `device=cuda:1`. Raises `ConfigError`."""
    if zipped := re.fullmatch(r"\s*zip\s*\((.*)\)\s*", text, re.DOTALL):
        return [_zipped(text, zipped[1], schema)]
    if appended := re.fullmatch(r"\s*([A-Za-z_][\w.-]*)\+(=.*)", text, re.DOTALL):
        return _appended(text, *read_word("".join(appended.groups()), schema))
    sign, key, raw = _split(text)
    if not is_unicode(text):  # an argument or a file name in another encoding
        raise ConfigError(Problem(ascii(key)[1:-1], f"{raw or text!a} is not UTF-8, so no file of a run can hold it."))
    _refuse_hydra(key)
    text, key = text.replace(key, schema.today(key), 1), schema.today(key)
    if sign == "~":
        return [_deletion(text, key, schema)]
    if raw is None:
        raise ConfigError(Problem(text, "is not KEY=VALUE."))
    value = read_value(raw)
    if isinstance(value, ConfigError):
        raise ConfigError(Problem(key, str(value.problems[0].message), value.problems[0].hint))
    if key in GROUPS:
        return list(_choice(Override(text, key, _glob(value, key, schema), raw), schema))
    if key.removesuffix(".name") in COMPONENTS and key.endswith(".name"):
        group = key.removesuffix(".name")
        raise ConfigError(Problem(key, f"the {group} is chosen by its group.", f"Write {group}={raw.strip()}"))
    if isinstance(value, Globbed):
        raise ConfigError(Problem(key, "glob(...) picks options of a group; this is a key.", "List its values."))
    return [Override(text, key, value, raw)]


def _zipped(text: str, inner: str, schema: Schema) -> Override:
    """Parse `zip(KEY=A,B; KEY=C,D)`. Raises `ConfigError` unless all keys have as many values."""
    example = "It is written like 'zip(optimizer=sgd,adam; optimizer.lr=0.1,0.001)'."
    parts = [part for part in split_items(inner, ";") or [] if part]
    if len(parts) < 2:
        raise ConfigError(Problem(text, "pairs the values of two keys or more.", example))
    words = [word for part in parts for word in read_word(part, schema)]
    for word in words:
        if not isinstance(word.value, Choices):
            raise ConfigError(Problem(f"zip: {word.key}", f"{word.raw} is one value, not a list to pair.", example))
    keys = tuple(word.key for word in words)
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ConfigError(Problem(f"zip: {twice}", "is given twice.", example))
    counts = {word.key: len(word.value.values) for word in words}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise ConfigError(Problem("zip", f"pairs values, so each key needs as many: {told}.", example))
    return Override(text, "zip", Zipped(keys, tuple(word.value for word in words)), inner)


def _appended(text: str, word: Override, *more: Override) -> list[Override]:
    """Parse an override that appends, such as `freeze+=[head.*]`. Raises `ConfigError` unless it adds a list."""
    if more or word.is_group or not isinstance(word.value, list):
        raise ConfigError(Problem(word.key, "+= adds a list to a list.", f"Write {word.key}+=[VALUE, ...]."))
    return [replace(word, text=text, appends=True)]


def _split(text: str) -> tuple[str, str, str | None]:
    """The sign (`+`, `++`, `~` or none), the key and the value of an override."""
    left, equals, right = text.partition("=")
    match = re.fullmatch(r"\s*(\+\+|\+|~|)([^\s+~].*?|)\s*", left)
    sign, key = (match[1], match[2]) if match else ("", left.strip())
    if not re.fullmatch(r"[A-Za-z_][\w-]*(?:[./][\w-]+)*(?:@[\w.:-]*)?", key):
        named = key or text
        raise ConfigError(Problem(named, "is not the name of a key." if key else "has no key before the `=`."))
    if "@" in key:
        raise ConfigError(Problem(key, "a group cannot be moved to another place.", f"Write {key.split('@')[0]}=..."))
    if "/" in key and not key.startswith("hydra"):
        group = key.split("/")[0]
        rest = key[len(group) + 1 :]
        hint = f"Write {group}={rest}." if group in GROUPS else did_you_mean(group, GROUPS)
        raise ConfigError(Problem(key, "there is no such group.", hint))
    return sign, key, right if equals else None


def _refuse_hydra(key: str) -> None:
    """Raise `ConfigError` for a `hydra.*` key, naming the key of dlrun's that has the same effect."""
    if not re.match(r"hydra([./]|$)", key):
        return
    ours = next((ours for theirs, ours in HYDRA_KEYS.items() if key == theirs or key.startswith(theirs + ".")), None)
    hint = f"{ours} does the same." if ours else "Every setting of dlrun has a key of its own: see dlrun --help."
    raise ConfigError(Problem(key, "dlrun does not run under hydra.main, so it has no hydra.* settings.", hint))


def _deletion(text: str, key: str, schema: Schema) -> Override:
    """Parse `~GROUP`: `~scheduler` means no scheduler. Raises `ConfigError` for what cannot be left out."""
    if key in OFF:
        return Override(text, key, OFF[key])
    if key in GROUPS:
        raise ConfigError(Problem(key, f"a run needs {an(key)}: it cannot be left out.", _allowed(key, schema)))
    raise ConfigError(Problem(key, "a key cannot be removed.", f"Set it instead: {key}=null, if it allows that."))


def _allowed(group: str, schema: Schema) -> str:
    return f"Allowed: {', '.join(schema.options(group))}."


def _choice(word: Override, schema: Schema) -> Iterator[Override]:
    """Check that the options exist, replace `null` by what it means, and split `device=cuda:1` into two overrides."""
    if isinstance(word.value, Distribution):
        raise ConfigError(Problem(word.key, "an interval has no options.", _allowed(word.key, schema)))
    if isinstance(word.value, Choices):
        names = tuple(_option(word.key, v, t, schema) for v, t in zip(word.value.values, word.value.texts, strict=True))
        texts = tuple("null" if name is None else name for name in names)
        yield Override(word.text, word.key, Choices(names, texts), word.raw)
        return
    name = _option(word.key, word.value, word.raw, schema)
    number = re.fullmatch(r"(cuda):\d+", name or "")
    if word.key == "device" and number and name not in schema.options("device"):
        yield Override(word.text, "device", number[1], number[1])
        yield Override(word.text, "device.name", name, str(name))
    else:
        yield Override(word.text, word.key, name, word.raw)


def _option(group: str, value: object, raw: str, schema: Schema) -> str | None:
    """The option that a value names. Raises `ConfigError`, with the nearest option, if there is none."""
    if value is None:
        return _deletion(raw, group, schema).value
    if isinstance(value, list):
        several = ",".join(format_yaml(item) for item in value)
        message = "takes one option, not a list."
        raise ConfigError(Problem(group, message, f"To run each of them: dlrun -m {group}={several}"))
    if isinstance(value, dict):
        hint = " ".join(f"{group}.{key}={format_yaml(item)}" for key, item in value.items())
        hint = f"To set its keys: {hint or f'{group}.KEY=...'}"
        raise ConfigError(Problem(group, "takes the name of an option.", hint))
    name = value if isinstance(value, str) else raw.strip()
    if group == "experiment" and name.endswith(".yaml") and os.path.isfile(path := os.path.expanduser(name)):
        return schema.add_file(group, Path(path).resolve())
    name = name.removesuffix(".yaml")
    if name in schema.options(group) or (group == "device" and re.fullmatch(r"cuda:\d+", name)):
        return name
    hint = " ".join(filter(None, [option_hint(group, name, schema.options(group)), _allowed(group, schema)]))
    raise ConfigError(Problem(group, f"there is no option {name!r}.", hint))


def _glob(value: object, group: str, schema: Schema) -> Any:
    """Expand `glob(...)` to the options that match; any other value is returned as it is."""
    if not isinstance(value, Globbed):
        return value
    names = [n for n in schema.options(group) if any(fnmatchcase(n, p) for p in value.include)]
    names = [n for n in names if not any(fnmatchcase(n, p) for p in value.exclude)]
    if not names:
        raise ConfigError(Problem(group, "no option matches this glob.", _allowed(group, schema)))
    return Choices(tuple(names), tuple(names))

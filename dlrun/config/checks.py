"""Check a configuration against the schema, without torch, and collect all problems."""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from dlrun.config.combinations import combinations
from dlrun.config.overrides.other_tools import keys_meant, value_hint
from dlrun.config.schema import yamls
from dlrun.config.schema.contract import Mismatch, format_yaml
from dlrun.config.schema.schema import COMPONENTS, GROUPS, Key, Option, Schema, all_keys
from dlrun.config.schema.words import respelled
from dlrun.config.section import Section
from dlrun.errors import ConfigError, Problem, allowed_words, did_you_mean
from dlrun.plain import Values

NEEDED = [group for group in GROUPS if group != "experiment"]
TYPED = re.compile(r"\s*(true|false|null|[-+.\d][-+.\de]*|\[.*\])\s*", re.IGNORECASE | re.DOTALL)
MUST_BE_GIVEN = "???"  # OmegaConf's marker of a value that has no default


def check_values(
    values: dict[str, Any], schema: Schema, raws: dict[str, str] | None = None, skip: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[Problem]]:
    """Convert values to the types of their contracts, add defaults, and sort them as the schema is.

    Args:
        values: nested values.
        schema: what they are checked against.
        raws: values as they were typed, by dotted key.
        skip: groups that are known to be wrong already, which are not checked.

    Returns:
        The clean values, whose sections are shared with those of equal ones, and every problem.
    """
    sections, problems = _sections(values, schema, skip)
    clean: dict[str, Any] = {}
    for group, option in sections.items():
        section = values.get(group)
        if not isinstance(section, dict):
            problems.append(Problem(group, f"is a section with keys, not {format_yaml(section)}."))
            continue
        clean[group], wrong = _checked(group, option.keys, section, raws or {}, schema)
        problems += wrong
    rest = {key: value for key, value in values.items() if key not in GROUPS}
    top, wrong = _checked("", schema.primary, rest, raws or {}, schema)
    clean |= top
    problems += wrong
    problems += combinations(clean, sections, {problem.key for problem in problems})
    return clean, problems


Checked = tuple[Section, list[Problem]]
_KNOWN: WeakKeyDictionary[Schema, dict[object, Checked]] = WeakKeyDictionary()
MOST_KNOWN = 20_000  # sections whose check is remembered: the jobs of a sweep differ in few


def _checked(group: str, keys: dict[str, Key], section: Values, raws: dict[str, str], schema: Schema) -> Checked:
    """The clean section, and its problems. Equal sections, as the jobs of a sweep have, are checked once."""
    prefix = f"{group}." if group else ""
    mine = ((key, key.partition(".")[0]) for key in raws)
    raws = {key: raws[key] for key, first in mine if first == group or (not group and first not in GROUPS)}
    known = _KNOWN.setdefault(schema, {})
    try:
        facts = group, marshal.dumps((section, raws), 2)  # version 2 writes equal values equally
    except ValueError:  # values that are not plain
        facts = None
    if facts is None or facts not in known:
        one = _Section(keys, prefix, raws, schema)
        named = respelled({group: section}, schema)[group] if group else respelled(section, schema)
        checked = Section(one.check(named)), one.problems
        if facts is None:
            return checked
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[facts] = checked
    return known[facts]


def _sections(values: dict[str, Any], schema: Schema, skip: frozenset[str]) -> tuple[dict[str, Option], list[Problem]]:
    """The option that describes the keys of each section, by the component that the section names."""
    found, problems = {}, []
    for group in NEEDED:
        if group in skip:
            continue
        section = values.get(group)
        if section is None:
            problems.append(Problem(group, "is missing.", f"Choose one with {group}=OPTION."))
            continue
        name = section.get("name", "") if isinstance(section, dict) else ""
        option = schema.section(group, name if isinstance(name, str) else "")
        if option is None:
            names = sorted({schema.full(o).component for o in schema.options(group).values()} - {""})
            hint = allowed_words(str(name), names)
            problems.append(Problem(f"{group}.name", f"there is no {group} {format_yaml(name)!r}.", hint))
            continue
        found[group] = option
    return found, problems


class _Section:
    """Checks one section. The keys that belong to no group are a section with an empty prefix."""

    def __init__(self, keys: dict[str, Key], prefix: str, raws: dict[str, str], schema: Schema) -> None:
        self.keys, self.prefix, self.raws, self.schema = keys, prefix, raws, schema
        self.problems: list[Problem] = []
        self.inner = {".".join(parts[:i]) for key in keys for parts in [key.split(".")] for i in range(1, len(parts))}

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """The clean section; its problems are added to `problems`."""
        given = dict(self._flat(values, ""))
        clean: dict[str, Any] = {}
        for key, info in self.keys.items():
            value = given.pop(key) if key in given else yamls.loads(info.default, info.source)
            _put(clean, key, self._value(info, value))
        for key, value in given.items():
            self.problems += [self._unknown(dotted) for dotted in _leaves(key, value)]
        return clean

    def _flat(self, values: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        """Flatten nested values down to the keys that the schema knows."""
        for key, value in values.items():
            dotted = f"{path}{key}"
            if dotted in self.inner and isinstance(value, dict):
                yield from self._flat(value, f"{dotted}.")
            elif dotted in self.inner:
                message = f"is a section with keys, not {format_yaml(value)}."
                self.problems.append(Problem(self.prefix + dotted, message))
            else:
                yield dotted, value

    def _value(self, info: Key, value: object) -> Any:
        """Convert one value as its contract says, or note a problem and return it as it is."""
        dotted = self.prefix + info.key
        group = self.prefix.rstrip(".")
        if value == MUST_BE_GIVEN:
            self.problems.append(Problem(dotted, "needs a value.", f"It is {info.help}." if info.help else ""))
            return value
        if info.key == "name" and group in COMPONENTS:
            return value  # `_sections` has checked it
        if info.contract is None:
            return value
        raw = self.raws.get(dotted)
        if raw is not None and info.contract.takes_text and not isinstance(value, (str, list, dict, type(None))):
            value = format_yaml(value) if "${" in raw else raw.strip()  # `run.name=007` means the text
        if value == "None" and info.contract.has_null:
            return None
        try:
            return info.contract.accept(value)
        except Mismatch as mismatch:
            with suppress(Mismatch, ConfigError):
                return info.contract.accept(_typed(value, dotted))
            hint = "Write null." if value == "None" else ""
            hint = hint or value_hint(dotted, str(value), info.contract.words) if isinstance(value, str | int) else ""
            if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off") and info.contract.has("bool"):
                hint = "Write true or false."
            if info.contract.takes_text and isinstance(value, (int, float)):
                hint = f'To mean the text, write it in quotes: "{format_yaml(value)}".'
            if info.contract.has("list") and not isinstance(value, (list, dict)):
                hint = hint or f"A list is written {dotted}=[{format_yaml(value)}]."
            got = repr(value) if isinstance(value, str) else format_yaml(value)
            self.problems.append(Problem(dotted, f"{mismatch}, not {_short(got)}.", hint))
            return value

    def _unknown(self, key: str) -> Problem:
        """The problem of an unknown key. Its hint names the nearest key, or the options that have this key."""
        group = self.prefix.rstrip(".")
        dotted = self.prefix + key
        own = [self.prefix + k for k in self.keys if k != "name"]
        if group in COMPONENTS:
            having = [n for n, o in self.schema.options(group).items() if key in self.schema.full(o).keys]
            name = self.keys["name"].default if "name" in self.keys else ""
            keys = f"Its keys: {', '.join(k for k in self.keys if k != 'name')}." if own else "It has no keys."
            hint = did_you_mean(dotted, own) or ("" if having else keys)
            if having:
                hint = f"{hint} {key} belongs to {', '.join(f'{group}={n}' for n in having)}.".strip()
            return Problem(dotted, f"unknown key: {name} has none of this name." if having else "unknown key.", hint)
        if group:
            return Problem(dotted, "unknown key.", did_you_mean(dotted, own) or f"Its keys: {', '.join(self.keys)}.")
        return Problem(dotted or "''", "unknown key.", nearest_key(dotted, self.schema))


def nearest_key(dotted: str, schema: Schema) -> str:
    """A hint with the nearest of all keys and groups. A key without its group counts: `lr` means optimizer.lr."""
    if meant := keys_meant(dotted, all_keys(schema)):
        return f"Did you mean {' or '.join(meant[:3])}?"
    return did_you_mean(dotted, all_keys(schema)) or "`dlrun --help` lists the groups and keys."


def _leaves(key: str, value: object) -> list[str]:
    """The dotted keys of the values below an unknown key."""
    if not isinstance(value, dict) or not value:
        return [key]
    return [leaf for inner, item in value.items() for leaf in _leaves(f"{key}.{inner}", item)]


def _typed(value: object, dotted: str) -> object:
    """A quoted number, one of an environment variable, or a list of these, as the values that they spell."""
    if isinstance(value, list):
        return [_typed(item, dotted) for item in value]
    return yamls.loads(value, dotted) if isinstance(value, str) and TYPED.fullmatch(value) else value


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _put(values: dict[str, Any], dotted: str, value: object) -> None:
    *above, last = dotted.split(".")
    for part in above:
        values = values.setdefault(part, {})
    values[last] = value

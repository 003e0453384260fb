"""YAML files whose last section, `jobs`, has one line of JSON for each entry, which YAML reads as well.

    format: 1
    jobs:
      "adam-seed0": {"overrides": ["optimizer=adam", "seed=0"], "trial": 0}

A YAML parser takes a hundred times as long as one of JSON, and a line can be appended. What does not look as it is
written here (by an older dlrun, or by hand) is read by the YAML parser as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from dlrun.config.schema import yamls
from dlrun.plain import Values

SECTION = "jobs"


class FastDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """`yamls.Dumper` in C, ten times as fast, for sweeps of many jobs. It escapes emoji."""

    yaml_implicit_resolvers = yamls.Dumper.yaml_implicit_resolvers
    yaml_representers = yamls.Dumper.yaml_representers

    def ignore_aliases(self, data: object) -> bool:
        """Write shared lists in full instead of as aliases."""
        return True


def dump_entries(head: Values, entries: Mapping[str, Values]) -> str:
    """The text of a file with these values, and with these entries as its last section."""
    lines = [line_of(name, entry) for name, entry in entries.items()]
    return _yaml(head) + "".join([f"{SECTION}:\n" if lines else f"{SECTION}: {{}}\n", *lines])


def line_of(name: str, entry: Values) -> str:
    """The line of one entry, or several lines of YAML if JSON cannot hold it."""
    line = _json_line(name, entry)
    if line is None:
        return "".join(f"  {row}\n" for row in _yaml({name: entry}).splitlines())
    return line


def load_entries(text: str, name: str) -> Any:
    """The values of a file that `dump_entries` wrote, or of any YAML file. Raises `ConfigError` with `name`.

    A last line without its end is dropped: appending it was interrupted.
    """
    head, section, rest = text.partition(f"\n{SECTION}:\n")
    entries = _entries(rest.split("\n")) if section else None
    values = yamls.loads(text if entries is None else f"{head}\n", name)
    return values | {SECTION: entries} if entries is not None and isinstance(values, dict) else values


def _entries(lines: list[str]) -> dict[str, Values] | None:
    """The entries in these lines; None if one of them is not as `line_of` writes it."""
    found: dict[str, Values] = {}
    for line in lines[:-1]:
        try:
            ((name, entry),) = json.loads(f"{{{line}}}").items()
        except (ValueError, RecursionError):
            return None
        if name in found or not isinstance(entry, dict) or _json_line(name, entry) != f"{line}\n":
            return None
        found[name] = entry
    return found


def _json_line(name: str, entry: Values) -> str | None:
    """The entry as one line of JSON; None if YAML would read it differently, or JSON cannot hold it."""
    try:
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return f"  {json.dumps(name)}: {text}\n" if text.isprintable() and _has_text_keys(entry) else None


def _has_text_keys(value: object) -> bool:
    """Whether all keys of nested mappings are texts, of a length that YAML takes."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and len(key) < 1000 and _has_text_keys(value[key]) for key in value)
    return not isinstance(value, list) or all(map(_has_text_keys, value))


def _yaml(values: Values) -> str:
    return str(yaml.dump(values, Dumper=FastDumper, sort_keys=False, allow_unicode=True, width=10**6))

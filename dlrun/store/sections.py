"""config.yaml section by section: runs share equal sections, which are parsed once. A sweep has few different ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dlrun.config.schema.schema import Schema
from dlrun.config.schema.words import respelled
from dlrun.errors import ConfigError
from dlrun.plain import Values, flatten
from dlrun.store.reading import MOST_YAML, parse_yaml, read_yaml, try_read_text

BEGIN = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)  # where a section begins
STRANGE = re.compile(r"^[^A-Za-z_ \n]", re.MULTILINE)  # lines that are neither the first of a section nor within one


@dataclass(frozen=True, eq=False)
class Part:
    """A section, or a value of no section, with the present names of its keys. Do not change it: runs share it."""

    values: Values  # by the name of the section
    flat: Values  # by dotted key


def read_config_parts(path: Path, schema: Schema) -> list[Part]:
    """The sections of a config.yaml; none if it is missing or damaged."""
    text = try_read_text(path, MOST_YAML) or ""
    blocks = [block for block in BEGIN.split(text) if block.strip()]
    found = [] if STRANGE.search(text) else [_part(block, schema) for block in blocks]
    known = [part for part in found if part is not None]
    names = [name for part in known for name in part.values]
    if known and len(names) == len(set(names)) == len(blocks):
        return known
    return [_made(name, value, schema) for name, value in read_yaml(path).items()]  # not as dlrun writes it


def joined(parts: Iterable[Values]) -> Values:
    """The values of all parts, in order."""
    found: Values = {}
    for part in parts:
        found |= part
    return found


@lru_cache(maxsize=20_000)
def _part(text: str, schema: Schema) -> Part | None:
    """The only section in a text; None if it is not one."""
    try:
        values = parse_yaml(text, "")
    except ConfigError:
        return None
    if not isinstance(values, dict) or len(values) != 1:
        return None
    return _made(*values.popitem(), schema)


def _made(name: str, value: object, schema: Schema) -> Part:
    values = respelled({name: value}, schema)
    return Part(values, flatten(values))

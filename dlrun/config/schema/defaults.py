"""The defaults of all keys as values, for reports on runs of older versions that lack some keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.config.schema.yamls import loads


def defaults(config: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The default of each dotted key of a configuration with these components."""
    found = dict(_section("", "", schema))
    for group in GROUPS:
        section = config.get(group)
        found |= _section(group, str(section.get("name", "")) if isinstance(section, Mapping) else "", schema)
    return found


@lru_cache(maxsize=512)
def _section(group: str, name: str, schema: Schema) -> dict[str, Any]:
    option = schema.section(group, name) if group else None
    keys = option.keys if option else schema.primary if not group else {}
    return {f"{group}.{key}".lstrip("."): loads(info.default, info.source) for key, info in keys.items()}

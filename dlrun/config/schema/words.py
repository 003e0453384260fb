"""Words of a command line and stored values as they are: keys in today's spelling, what repeats a run.

Whoever reads overrides, a config.yaml or a sweep.yaml goes through here, so that a key which was renamed
(`standardize: true  # ... (bool; was standardise)`) makes nothing stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dlrun.config.schema.schema import GROUPS, Schema


def key_of(word: str) -> str:
    """The key of an override: `optimizer.lr` of `+optimizer.lr=0.1`, `freeze` of `freeze+=[head.*]`."""
    return word.lstrip("+~").partition("=")[0].strip().removesuffix("+")


def repeated(words: Iterable[str], schema: Schema) -> list[str]:
    """The words that repeat a run elsewhere: without those about its place or its moment (run.*, resume, sweep.*)."""
    return [word for word in words if is_repeated(key_of(word), schema)]


def is_repeated(key: str, schema: Schema) -> bool:
    """Whether a key belongs to the experiment. What a group says is kept (`checkpoint.keep`) does."""
    return key.partition(".")[0] in GROUPS or schema.effect(key).name != "kept"


def respelled_word(word: str, schema: Schema, config: Mapping[str, Any] | None = None) -> str:
    """An override with its key in today's spelling."""
    key = key_of(word)
    return word.replace(key, schema.today(key, config), 1) if key else word


def respelled(
    values: Mapping[str, Any], schema: Schema, config: Mapping[str, Any] | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Nested values with their keys in today's spelling. The components are those that they name, or `config` does."""
    chosen = config if prefix else {**(config or {}), **{k: v for k, v in values.items() if names_component(v)}}
    found = {}
    for key, value in values.items():
        new = schema.today(f"{prefix}{key}", chosen)
        name = key if new == f"{prefix}{key}" else new.rpartition(".")[2]
        found[name] = respelled(value, schema, chosen, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return found


def names_component(section: object) -> bool:
    return isinstance(section, Mapping) and "name" in section

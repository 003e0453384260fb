"""Rename former keys in overrides and stored values, and choose the overrides that repeat a run.

Overrides, config.yaml and sweep.yaml are always read through these functions, so that files with a key which was
renamed later (`standardize: true  # ... (bool; was standardise)`) stay valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dlrun.config.schema.schema import GROUPS, Schema

WORKLOAD = "sweep.workload"  # the key that names the workload of a job, which stands for all that the workload sets


def key_of(word: str) -> str:
    """The key of an override: `optimizer.lr` of `+optimizer.lr=0.1`, `freeze` of `freeze+=[head.*]`."""
    return word.lstrip("+~").partition("=")[0].strip().removesuffix("+")


def repeating_overrides(words: Iterable[str], schema: Schema) -> list[str]:
    """The overrides that repeat a run in another directory: all but those of run.*, resume and sweep.*."""
    keys = ((word, key_of(word)) for word in words)
    return [word for word, key in keys if key.partition(".")[0] in GROUPS or schema.effect(key).name != "kept"]


def respelled_word(word: str, schema: Schema, config: Mapping[str, Any] | None = None) -> str:
    """An override with the present name of its key."""
    key = key_of(word)
    return word.replace(key, schema.today(key, config), 1) if key else word


def respelled(
    values: Mapping[str, Any], schema: Schema, config: Mapping[str, Any] | None = None, prefix: str = ""
) -> dict[str, Any]:
    """Nested values with the present names of their keys.

    The components are those that the values name, else those that `config` names.
    """
    named = {key: value for key, value in values.items() if isinstance(value, Mapping) and "name" in value}
    chosen = config if prefix else {**(config or {}), **named}
    found = {}
    for key, value in values.items():
        new = schema.today(f"{prefix}{key}", chosen)
        name = key if new == f"{prefix}{key}" else new.rpartition(".")[2]
        found[name] = respelled(value, schema, chosen, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return found

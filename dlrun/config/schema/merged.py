"""Merge the descriptions of a key in several files: a variant over its base, a user's file over dlrun's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dlrun.config.schema.comments import Key, Option


def former_names(keys: Mapping[str, Key]) -> dict[str, str]:
    """The present name of each former name of these keys."""
    pairs = [(name, key.contract.was) for name, key in keys.items() if key.contract]
    return {".".join([*name.split(".")[:-1], old]): name for name, was in pairs for old in was}


def over(keys: dict[str, Key], more: dict[str, Key]) -> dict[str, Key]:
    """Merge keys over others. They get their present names, and inherit help and contract."""
    found, former = dict(keys), former_names(keys)
    for name, key in more.items():
        name = former.get(name, name)
        found[name] = inheriting(replace(key, key=name), found.get(name))
    return found


def inheriting(key: Key, other: Key | None) -> Key:
    """A key with the help and the contract of another description of it, where it states none itself."""
    if other is None:
        return key
    contract = key.contract.inheriting(other.contract) if key.contract else other.contract
    return replace(key, contract=contract, help=key.help or other.help)


def shadow(option: Option, below: Option | None) -> Option:
    """An option that hides another one of the same name inherits the contracts that it does not state."""
    if below is None or below.component != option.component:
        return option
    keys = over(below.keys, option.keys)
    if option.bases:  # the other keys come from its bases
        former = former_names(below.keys)
        keys = {name: keys[name] for name in (former.get(name, name) for name in option.keys)}
    return replace(option, keys=keys, headers={**below.headers, **option.headers})

"""What several files say of one key, put together: a variant over its base, a file of the user over ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dlrun.config.schema.comments import Key, Option


def former_names(keys: Mapping[str, Key]) -> dict[str, str]:
    """Today's names of these keys, by those that they had before."""
    pairs = [(name, key.contract.was) for name, key in keys.items() if key.contract]
    return {".".join([*name.split(".")[:-1], old]): name for name, was in pairs for old in was}


def over(keys: dict[str, Key], more: dict[str, Key]) -> dict[str, Key]:
    """Lines put over others: in today's spelling, and each with what it does not say itself."""
    found, former = dict(keys), former_names(keys)
    for name, key in more.items():
        name = former.get(name, name)
        found[name] = inheriting(replace(key, key=name), found.get(name))
    return found


def inheriting(key: Key, other: Key | None) -> Key:
    """A line with what it does not say itself: help and contract of another one for the same key."""
    if other is None:
        return key
    contract = key.contract.inheriting(other.contract) if key.contract else other.contract
    return replace(key, contract=contract, help=key.help or other.help)


def shadow(option: Option, below: Option | None) -> Option:
    """A file of the user's that hides one of ours of the same name borrows the contracts it does not state."""
    if below is None or below.component != option.component:
        return option
    keys = over(below.keys, option.keys)
    if option.bases:  # the others come from there
        former = former_names(below.keys)
        keys = {name: keys[name] for name in (former.get(name, name) for name in option.keys)}
    return replace(option, keys=keys, headers={**below.headers, **option.headers})

"""`Section`: an immutable mapping with attribute access, which many configurations may share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dlrun.plain import Values, flatten


class Section(Mapping[str, Any]):
    """An immutable mapping with attribute access: `section.lr`, `section["lr"]`, `**section`.

    Lists are stored as tuples and dictionaries as sections. The jobs of a sweep share their equal sections,
    and what is derived from a section is kept with it (see `derived`).
    """

    __slots__ = ("_derived", "_values")

    _values: dict[str, Any]
    _derived: dict[object, Any]

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", {key: _freeze(value) for key, value in values.items()})
        object.__setattr__(self, "_derived", {})

    def __getattr__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        raise AttributeError(f"the configuration has no key {name!r} here; it has: {', '.join(map(str, self._values))}")

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a configuration is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a configuration is frozen: {name} cannot be deleted")

    def __hash__(self) -> int:
        return hash(json.dumps(thaw(self), sort_keys=True, default=str))

    def __eq__(self, other: object) -> bool:
        return thaw(self) == thaw(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({thaw(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (thaw(self),)


def thaw(value: object) -> Any:
    """A plain copy (dicts, lists and scalars) of a section or of nested values."""
    if isinstance(value, Section):
        return {key: thaw(item) for key, item in value._values.items()}
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    return value


def derived(section: Section, key: object, make: Callable[[Section], Any]) -> Any:
    """What `make` makes of a section, made once and kept under this key. Do not change it."""
    if key not in section._derived:
        section._derived[key] = make(section)
    return section._derived[key]


def shared_values(section: Section) -> Values:
    """As `thaw`, but made once, also for the sections within: do not change it."""
    return derived(section, shared_values, _shared_values)


def flat_values(section: Section) -> Values:
    """The values of a section by dotted key, made once: do not change them."""
    return derived(section, flat_values, lambda section: flatten(shared_values(section)))


def _shared_values(section: Section) -> Values:
    return {key: shared_values(item) if isinstance(item, Section) else thaw(item) for key, item in section.items()}


def _freeze(value: object) -> Any:
    if isinstance(value, Section):
        return value
    if isinstance(value, Mapping):
        return Section(value)
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    return value

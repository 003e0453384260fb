"""Resolve interpolations such as `${optimizer.lr}` and `${oc.env:HOME}` by OmegaConf."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from dlrun.config.schema.contract import format_yaml
from dlrun.errors import Problem
from dlrun.plain import Values, with_texts


def has_interpolation(value: object) -> bool:
    """Whether any text in these values contains `${`."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(has_interpolation(item) for item in value.values())
    return isinstance(value, list) and any(has_interpolation(item) for item in value)


def hide(values: Values, kept: list[str]) -> Values:
    """Replace each text that contains `${` by a placeholder, and add the text to `kept`.

    It protects the values of a run's own config.yaml, which are plain text, from `resolve_interpolations`.
    """

    def placeholder(text: str) -> str:
        if "${" not in text:
            return text
        kept.append(text)
        return f"\ue000{len(kept) - 1}\ue001"  # characters of private use

    return {key: with_texts(value, placeholder) for key, value in values.items()}


def show(values: Values, kept: Sequence[str]) -> Values:
    """The inverse of `hide`. A placeholder may have become part of another text."""

    def original(text: str) -> str:
        return re.sub("\ue000([0-9]+)\ue001", lambda found: kept[int(found[1])], text)

    return {key: with_texts(value, original) for key, value in values.items()} if kept else values


def resolve_interpolations(values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Resolve every interpolation. One that cannot be resolved becomes None, and a problem that names its key."""
    if not has_interpolation(values):
        return values, []
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    errors = (OmegaConfBaseException, ValueError, RecursionError)
    problems: list[Problem] = []

    def parsed(text: str | Values, path: tuple[Any, ...]) -> str | Values | None:
        try:
            OmegaConf.create({"k": text})
        except errors:
            what = f"{format_yaml(text)!r} is not an interpolation that can be read."
            hint = "Null cannot be a key." if isinstance(text, dict) else "To mean the two characters, write \\${."
            problems.append(Problem(_dotted(path), what, hint))
            return None
        return text

    def resolved(text: str, path: tuple[Any, ...]) -> Any:
        node: Any = whole
        try:
            for part in path:
                node = node[part]
            return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except errors as error:
            reason = "it refers to itself" if isinstance(error, RecursionError) else str(error).split("\n")[0]
            reason = reason.removeprefix("KeyError raised while resolving interpolation: ").strip('"')
            problems.append(Problem(_dotted(path), f"{text!r} has no value: {reason.rstrip('.')}."))
            return None

    readable = _replaced(values, parsed)
    whole = OmegaConf.create(readable)
    return _replaced(readable, resolved), problems


def _replaced(value: object, replace: Callable[[Any, tuple[Any, ...]], Any], path: tuple[Any, ...] = ()) -> Any:
    """Nested values, with each text that contains `${` replaced by what `replace` makes of it and its path.

    It is also given each mapping with null as a key, which OmegaConf does not take.
    """
    if isinstance(value, dict) and None not in value:
        return {key: _replaced(item, replace, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, replace, (*path, i)) for i, item in enumerate(value)]
    return replace(value, path) if isinstance(value, dict) or (isinstance(value, str) and "${" in value) else value


def _dotted(path: tuple[Any, ...]) -> str:
    """A path as a dotted key, without the positions in lists."""
    return ".".join(str(part) for part in path if not isinstance(part, int)) or "''"

"""`${...}` in values: `${optimizer.lr}`, `${oc.env:HOME}`, resolved by OmegaConf, every failure named by its key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dlrun.config.schema.contract import format_yaml
from dlrun.errors import Problem
from dlrun.plain import Values, with_texts


def has_interpolation(value: object) -> bool:
    """Is there a `${` in any text of these values?"""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(has_interpolation(item) for item in value.values())
    return isinstance(value, list) and any(has_interpolation(item) for item in value)


def hide(values: Values, kept: list[str]) -> Values:
    """The values with a placeholder for each text that has a `${` in it; the texts are added to `kept`.

    What a run's own file says is plain text: `resolve` must not look at it.
    """

    def placeholder(text: str) -> str:
        if "${" not in text:
            return text
        kept.append(text)
        return f"\ue000{len(kept) - 1}\ue001"  # characters of private use

    return {key: with_texts(value, placeholder) for key, value in values.items()}


def show(values: Values, kept: Sequence[str]) -> Values:
    """The inverse of `hide`, also where a placeholder has become a part of another text."""

    def original(text: str) -> str:
        return re.sub("\ue000([0-9]+)\ue001", lambda found: kept[int(found[1])], text)

    return {key: with_texts(value, original) for key, value in values.items()} if kept else values


def resolve(values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The values with every interpolation replaced; what cannot be stays as it is and is a problem."""
    if not has_interpolation(values):
        return values, []
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    problems: list[Problem] = []
    values = _without_broken(values, "", problems)
    try:
        return OmegaConf.to_container(OmegaConf.create(values), resolve=True), problems  # type: ignore[return-value]
    except (OmegaConfBaseException, ValueError, RecursionError):
        return _one_by_one(values, problems), problems


def _without_broken(values: object, path: str, problems: list[Problem]) -> Any:
    """The values with texts emptied whose `${` is no interpolation at all; each is noted."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(values, dict):
        return {k: _without_broken(v, f"{path}.{k}".lstrip("."), problems) for k, v in values.items()}
    if isinstance(values, list):
        return [_without_broken(item, path, problems) for item in values]
    if isinstance(values, str) and "${" in values:
        try:
            OmegaConf.create({"k": values})
        except (OmegaConfBaseException, ValueError, RecursionError):
            hint = "To mean the two characters, write \\${."
            problems.append(
                Problem(path or "''", f"{format_yaml(values)!r} is not an interpolation that can be read.", hint)
            )
            return None
    return values


def _one_by_one(values: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Resolve each key alone, so that every failure is named."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    whole = OmegaConf.create(values)

    def walk(value: object, path: list[Any]) -> Any:
        if isinstance(value, dict):
            return {key: walk(item, [*path, key]) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, [*path, i]) for i, item in enumerate(value)]
        if not (isinstance(value, str) and "${" in value):
            return value
        try:
            node: Any = whole
            for part in path:
                node = node[part]
            return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        except (OmegaConfBaseException, ValueError, RecursionError) as error:
            reason = "it refers to itself" if isinstance(error, RecursionError) else str(error).split("\n")[0]
            reason = reason.removeprefix("KeyError raised while resolving interpolation: ").strip('"')
            key = ".".join(str(part) for part in path if not isinstance(part, int)) or "''"
            problems.append(Problem(key, f"{value!r} has no value: {reason.rstrip('.')}."))
            return None

    return walk(values, [])

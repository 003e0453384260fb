"""Plain values: dotted keys, the numbers among them, and how text is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, TypeAlias

Values: TypeAlias = dict[str, Any]  # a mapping as YAML and JSON hold it: None, bool, numbers, str, lists and mappings

# What a terminal obeys instead of showing it: control characters, the other order of right-to-left text, halves of a
# surrogate pair (bytes of a name that are not UTF-8). Line ends and tabulators are left.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Values:
    """Nested mappings as dotted keys, in order. Lists and empty mappings are values."""
    flat: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def number(value: object) -> float:
    """A float, or nan."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def finite(values: Iterable[float]) -> list[float]:
    """The values without nan and infinities."""
    return [value for value in values if math.isfinite(value)]


def numbers(part: object) -> dict[str, float]:
    """The finite numbers of a mapping."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(k): number(v) for k, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def json_value(value: object) -> Any:
    """A plain value for JSON, which has no name for numbers that are not finite: they become None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_texts(value: object, change: Callable[[str], str]) -> object:
    """A plain value with all texts in it changed, but for the keys of mappings."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [with_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """Text of whatever origin, safe for a terminal: control characters are spelled (`\\x1b`)."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same, with line ends and tabulators spelled, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: str = "", *, file: IO[str] | None = None) -> None:
    """Print text of whatever origin. Letters that the terminal does not know are spelled."""
    shown = printable(text)
    try:
        print(shown, file=file)
    except UnicodeEncodeError:
        print(shown.encode("ascii", "backslashreplace").decode(), file=file)

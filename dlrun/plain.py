"""Plain values: dotted keys, numbers, JSON, and text that is safe to print."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, TypeAlias

Values: TypeAlias = dict[str, Any]  # as in YAML and JSON: None, bool, numbers, str, lists and mappings

# Characters that a terminal interprets instead of showing them: control characters, marks of text direction, and lone
# surrogates, which stand for bytes that are not UTF-8. Line ends and tabs are not among them.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def flatten(values: Mapping[str, Any], prefix: str = "") -> Values:
    """Flatten nested mappings to dotted keys, in order. Lists and empty mappings count as values."""
    flat: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def number(value: object) -> float:
    """A value as a float, or NaN if it is not a number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def four_digits(value: float) -> str:
    """A number with four significant digits, in thousands below a billion: 0.1235, 123.5, 25,140, 1.235e+09."""
    rounded = float(f"{value:.4g}")  # 9999.7 is 10,000
    return f"{rounded:,.0f}" if 1e4 <= abs(rounded) < 1e9 else f"{value:.4g}"


def finite(values: Iterable[float]) -> list[float]:
    """The values without NaN and infinities."""
    return [value for value in values if math.isfinite(value)]


def numbers(part: object) -> dict[str, float]:
    """The finite numbers of a mapping; empty for any other value."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(k): number(v) for k, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def json_value(value: object) -> Any:
    """A plain value for JSON, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(value: object) -> str:
    """A plain value as JSON on one line, safe to print: control characters are written as JSON escapes."""
    text = json.dumps(json_value(value), ensure_ascii=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def with_texts(value: object, change: Callable[[str], str]) -> object:
    """Apply `change` to all texts in a plain value, except to the keys of mappings."""
    if isinstance(value, dict):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [with_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """Escape control characters (`\\x1b`), so that a text of any origin is safe to print."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Escape control characters, line ends and tabs."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: str = "", *, file: IO[str] | None = None) -> None:
    """Print a text of any origin. Control characters, and those that the terminal's encoding lacks, are escaped."""
    shown = printable(text)
    try:
        print(shown, file=file)
    except UnicodeEncodeError:
        print(shown.encode("ascii", "backslashreplace").decode(), file=file)

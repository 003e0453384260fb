"""Parse and apply the contract of a key, which stands in parentheses at the end of its YAML comment.

    lr: 0.01          # learning rate (float > 0)
    clip_norm: null   # largest gradient norm (float > 0 or null)
    mode: min         # which way is better (min | max)

A contract is a list of alternatives, joined by ` or ` or ` | `. An alternative is a type (`int`, `float`, `bool`,
`str`, `path`, `dict`, `any`, `list`, `list[CONTRACT]`) with constraints joined by commas (`> 0`, `<= 1`), or a
literal word (`null`, `auto`, `relu`). Further facts about the key follow, each after a semicolon:

    threads: auto     # CPU threads (auto | int >= 1; speed)            what the key changes: see `effects`
    standardize: true # mean 0 and deviation 1 (bool; was standardise)  a former name of the key
    lr: 0.01          # learning rate (float > 0; tune 1e-4 to 1, log)  the range in which it is tuned

This module needs the standard library only.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from dlrun.config.schema.effects import EFFECTS, RESULT, Effect

TYPES = ("int", "float", "bool", "str", "path", "dict", "any", "list")
BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
LITERALS = {"null": None, "true": True, "false": False}
TUNE = re.compile(r"^tune (?P<low>\S+) to (?P<high>[^\s,]+)(?P<log>, log)?$")
ALTERNATIVE = re.compile(r"^(?P<type>[a-z]+)\s*(?:\[(?P<of>.*)\])?\s*(?P<rest>(?:[<>].*)?)$")


class Mismatch(ValueError):
    """Raised for a value that a contract does not accept; the message says what it accepts."""


@dataclass(frozen=True)
class Alternative:
    """One type with its constraints, or one literal value (`type` is then `literal`)."""

    type: str
    literal: Any = None
    of: Contract | None = None
    bounds: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        if self.type == "literal":
            return format_yaml(self.literal)
        inner = f"[{self.of}]" if self.of else ""
        bounds = ", ".join(f"{sign} {limit:.12g}" for sign, limit in self.bounds)
        return f"{self.type}{inner} {bounds}".strip()

    def accept(self, value: object) -> Any:
        """Convert a value to this type (`1` to a float, `1e3` to an int). Raises `Mismatch`."""
        value = self._converted(value)
        if isinstance(value, (int, float)) and not all(BOUNDS[sign](value, limit) for sign, limit in self.bounds):
            raise Mismatch("out of range")
        return value

    def _converted(self, value: object) -> Any:
        match self.type, value:
            case "any", _:
                return value
            case "literal", _ if type(value) is type(self.literal) and value == self.literal:
                return value
            case "int" | "float", bool():  # which is an int to Python
                pass
            case ("bool", bool()) | ("int", int()) | ("dict", dict()):
                return value
            case "int", float() if math.isfinite(value) and value == int(value):
                return int(value)
            case "float", float() if math.isfinite(value):
                return value
            case "float", int() if abs(value) <= 2**1023:  # the largest power of two that is a float
                return float(value)
            case "str", str() if is_unicode(value):
                return value
            case "path", str() if is_unicode(value) and "\0" not in value:
                return os.path.expanduser(value)
            case "list", list():
                return [self.of.accept(item) for item in value] if self.of else value
        raise Mismatch(f"not {self.type}")


@dataclass(frozen=True)
class TuneRange:
    """The range in which a number is usually tuned, on a linear or a log scale."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{format_yaml(self.low)} to {format_yaml(self.high)}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Contract:
    """What a key accepts, and further facts about it.

    Args:
        alternatives: types and literal values; the first one that accepts a value converts it.
        effect: what changing the key does.
        was: former names of the key.
        tune: the range in which it is usually tuned.
    """

    alternatives: tuple[Alternative, ...]
    effect: Effect = RESULT
    was: tuple[str, ...] = ()
    tune: TuneRange | None = None

    def __str__(self) -> str:
        words = [str(a) for a in self.alternatives if a.type == "literal"]
        types = [str(a) for a in self.alternatives if a.type != "literal"]
        return " or ".join([*types, *words]) if types else " | ".join(words)

    def accept(self, value: object) -> Any:
        """Convert a value by the first alternative that accepts it. Raises `Mismatch`."""
        exact = [a for a in self.alternatives if a.type in ("literal", type(value).__name__)]
        for alternative in [*exact, *self.alternatives]:
            try:
                return alternative.accept(value)
            except Mismatch:
                continue
        raise Mismatch(f"must be {self}")

    def inheriting(self, other: Contract | None) -> Contract:
        """This contract, with the facts of another one where it states none itself."""
        if other is None:
            return self
        effect = other.effect if self.effect == RESULT else self.effect
        return replace(self, effect=effect, was=self.was or other.was, tune=self.tune or other.tune)

    @property
    def words(self) -> list[str]:
        """The literal values, as they are written."""
        return [format_yaml(a.literal) for a in self.alternatives if a.type == "literal"]

    def has(self, *types: str) -> bool:
        """Whether one of these types is among the alternatives."""
        return any(a.type in types for a in self.alternatives)

    @property
    def has_null(self) -> bool:
        """Whether null is accepted."""
        return any(a.type == "literal" and a.literal is None for a in self.alternatives)

    @property
    def takes_text(self) -> bool:
        """Whether any text is accepted, so that `7` means the text "7"."""
        return self.has("str", "path")


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded as UTF-8. Bytes that Python could not decode stand in it as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def format_yaml(value: object) -> str:
    """Write a value as on the command line or in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_yaml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_yaml(k)}: {format_yaml(v)}" for k, v in value.items()) + "}"
    return str(value)


@cache
def parse_contract(text: str) -> Contract | None:
    """Parse a contract. Returns None for any other text, such as a remark in parentheses."""
    accepted, *facts = (part.strip() for part in text.split(";"))
    alternatives = [_parse_alternative(part) for part in _split(accepted)]
    contract: Contract | None = Contract(tuple(a for a in alternatives if a is not None))
    if any(alternative is None for alternative in alternatives):
        return None
    for fact in facts:
        contract = _with_fact(contract, fact) if contract else None
    return contract


def _with_fact(contract: Contract, text: str) -> Contract | None:
    """Add a fact to a contract: an effect, a former name or a range for tuning. Returns None for any other text."""
    word, _, rest = text.partition(" ")
    if text in EFFECTS:
        return replace(contract, effect=EFFECTS[text])
    if word == "was" and re.fullmatch(r"[A-Za-z_]\w*", rest):
        return replace(contract, was=(*contract.was, rest))
    match = TUNE.match(text)
    low, high = (parse_literal(match["low"]), parse_literal(match["high"])) if match else ("", "")
    if match and isinstance(low, (int, float)) and isinstance(high, (int, float)):
        is_range = low < high and (low > 0 or not match["log"])
        return replace(contract, tune=TuneRange(low, high, bool(match["log"]))) if is_range else None
    return None


def _split(text: str) -> list[str]:
    """Split at ` or ` and `|` outside of brackets."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        depth += (text[i] == "[") - (text[i] == "]")
        joint = " or " if text.startswith(" or ", i) else "|" if text[i] == "|" else ""
        if joint and depth == 0:
            parts.append(text[start:i])
            start = i + len(joint)
        i += len(joint) or 1
    return [part.strip() for part in [*parts, text[start:]]]


def _parse_alternative(text: str) -> Alternative | None:
    """Parse a type with its constraints, or a literal word. Returns None for any other text."""
    match = ALTERNATIVE.match(text)
    if match and match["type"] in TYPES:
        bounds = _parse_bounds(match["rest"])
        of = parse_contract(match["of"]) if match["of"] is not None else None
        broken = bounds is None or (match["of"] is not None and (of is None or match["type"] != "list"))
        return None if broken else Alternative(match["type"], of=of, bounds=bounds or ())
    if re.fullmatch(r"[A-Za-z0-9_.+-]+", text):
        return Alternative("literal", parse_literal(text))
    return None


def _parse_bounds(text: str) -> tuple[tuple[str, float], ...] | None:
    """Parse constraints such as `>= 0, < 1`. Returns None for any other text."""
    bounds = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([<>]=?)\s*([-+.\deE]+)", part)
        if not match:
            return None
        limit = float(match[2])
        bounds.append((match[1], int(limit) if limit.is_integer() else limit))
    return tuple(bounds)


def parse_literal(text: str) -> int | float | str | None:
    """The value that a word stands for: null, true, false, a number, or the word itself."""
    if text in LITERALS:
        return LITERALS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

"""What a key accepts: the contract in parentheses at the end of its YAML comment.

    lr: 0.01          # learning rate (float > 0)
    clip_norm: null   # largest gradient norm (float > 0 or null)
    mode: min         # which way is better (min | max)

A contract is a list of alternatives, joined by ` or ` or ` | `. An alternative is a type (`int`, `float`, `bool`,
`str`, `path`, `dict`, `any`, `list`, `list[CONTRACT]`) with constraints joined by commas (`> 0`, `<= 1`), or a
literal word (`null`, `auto`, `relu`). What else is known of the key follows, each fact after a semicolon:

    threads: null     # CPU threads (int >= 1 or null; speed)           what the key changes: see `effects`
    standardize: true # mean 0 and deviation 1 (bool; was standardise)  how the key was spelled before
    lr: 0.01          # learning rate (float > 0; tune 1e-4 to 1, log)  the range in which it is tuned

Nothing here needs more than the standard library.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dlrun.config.schema.effects import EFFECTS, RESULT, Effect

TYPES = ("int", "float", "bool", "str", "path", "dict", "any", "list")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
LITERALS = {"null": None, "true": True, "false": False}
TUNE = re.compile(r"^tune (?P<low>\S+) to (?P<high>[^\s,]+)(?P<log>, log)?$")
ALTERNATIVE = re.compile(r"^(?P<type>[a-z]+)\s*(?:\[(?P<of>.*)\])?\s*(?P<rest>(?:[<>].*)?)$")


class Mismatch(ValueError):
    """A value that a contract does not accept; the text says what would be right."""


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
        """The value in this type (`1` as a float, `1e3` as an int). Raises `Mismatch`."""
        value = getattr(self, f"_{self.type}")(value)
        if isinstance(value, (int, float)) and not all(COMPARE[sign](value, limit) for sign, limit in self.bounds):
            raise Mismatch("out of range")
        return value

    def _literal(self, value: object) -> Any:
        if type(value) is not type(self.literal) or value != self.literal:
            raise Mismatch("another word")
        return value

    def _int(self, value: object) -> int:
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Mismatch("not an int")
        return value

    def _float(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Mismatch("not a number")
        if (isinstance(value, int) and abs(value) > 2**1023) or not math.isfinite(value):
            raise Mismatch("not finite")
        return float(value)

    def _bool(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Mismatch("not a bool")
        return value

    def _str(self, value: object) -> str:
        if not isinstance(value, str) or not is_unicode(value):
            raise Mismatch("not text")
        return value

    def _path(self, value: object) -> str:
        text = self._str(value)
        if "\0" in text:
            raise Mismatch("not a path")
        return expand_user(text)

    def _dict(self, value: object) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise Mismatch("not a dict")
        return value

    def _list(self, value: object) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch("not a list")
        return [self.of.accept(item) for item in value] if self.of else value

    def _any(self, value: object) -> Any:
        return value


@dataclass(frozen=True)
class TuneRange:
    """The range in which a number is usually tuned, on a log scale or not."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Contract:
    """What a key accepts (alternatives, of which the first that accepts a value wins), and what else is known of it.

    `effect` is what changing the key does; `was` are former names of the key.
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
        """The value as the first alternative that fits has it. Raises `Mismatch`."""
        exact = [a for a in self.alternatives if a.type in ("literal", type(value).__name__)]
        for alternative in [*exact, *self.alternatives]:
            try:
                return alternative.accept(value)
            except Mismatch:
                continue
        raise Mismatch(f"must be {self}")

    def inheriting(self, other: Contract | None) -> Contract:
        """This contract with the facts of another where it states none itself."""
        if other is None:
            return self
        effect = other.effect if self.effect == RESULT else self.effect
        return replace(self, effect=effect, was=self.was or other.was, tune=self.tune or other.tune)

    @property
    def words(self) -> list[str]:
        """The literal words that may be written."""
        return [format_yaml(a.literal) for a in self.alternatives if a.type == "literal"]

    def has(self, *types: str) -> bool:
        """Is one of these types among the alternatives?"""
        return any(a.type in types for a in self.alternatives)

    @property
    def has_null(self) -> bool:
        """May it be null?"""
        return any(a.type == "literal" and a.literal is None for a in self.alternatives)

    @property
    def takes_text(self) -> bool:
        """May any text be written here (so that `7` means the text 7)?"""
        return self.has("str", "path")


def expand_user(text: str) -> str:
    """`~` and `~name` at the beginning of a path become the home directory, if there is one."""
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        return text


def is_unicode(text: str) -> bool:
    """Can it be written as UTF-8? Python has half a surrogate pair for each byte of a name that is not."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def format_yaml(value: object) -> str:
    """A value as it is written on the command line or in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_yaml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_yaml(k)}: {format_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return repr(value)
    return str(value)


@cache
def parse_contract(text: str) -> Contract | None:
    """The contract that a text states, or `None` when it is not one (a remark in parentheses, say)."""
    accepted, *facts = (part.strip() for part in text.split(";"))
    alternatives = [_parse_alternative(part) for part in _split(accepted)]
    contract: Contract | None = Contract(tuple(a for a in alternatives if a is not None))
    if any(alternative is None for alternative in alternatives):
        return None
    for fact in facts:
        contract = _with_fact(contract, fact) if contract else None
    return contract


def _with_fact(contract: Contract, text: str) -> Contract | None:
    """The contract with one more fact: an effect, a former name or a range for tuning. `None` for any other text."""
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
    """Cut at ` or ` and `|` outside of brackets."""
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

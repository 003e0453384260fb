"""The values of override words: Hydra's grammar, forgiving where people's fingers expect it to be.

Hydra's own parser reads every value. What it cannot read (`~/x.csv`, `[^conv]`, `price (usd)`, `a=b`, `zoë`) is
read again as the text that it obviously is; a contract then says whether text belongs there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Any

from dlrun.config.schema.contract import format_yaml
from dlrun.errors import ConfigError, Problem

SWEEP_FUNCTIONS = re.compile(r"^\s*(choice|range|interval|glob|tag|sort|shuffle)\s*\(.*\)\s*$", re.DOTALL)
PARSER_WORDS = re.compile(r"no viable alternative|mismatched input|extraneous input|token recognition|missing '")
STEPPED = re.compile(r"\s*interval\(([^,()]+,[^,()]+),([^,()]+)\)\s*$")
EXAMPLES = {
    "choice": "choice(1, 2, 3)",
    "range": "range(5, 20, 5)",
    "interval": "interval(0.1, 0.9)",
    "glob": "glob('[a-m]*', exclude='ada*'), with quotes around a pattern that has brackets",
    "tag": "tag(log, interval(1e-4, 1e-1))",
    "sort": "sort(3, 1, 2)",
    "shuffle": "shuffle(range(10))",
}
LARGEST_SWEEP = 100_000


@dataclass(frozen=True)
class Choices:
    """A swept key's values, in order, each with the text that gives it on the command line."""

    values: tuple[Any, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """A range that a search draws from: `low` to `high`, with or without steps, a log scale, whole numbers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None  # between the values: low, low + step, ... as far as high

    def __str__(self) -> str:
        ends = [self.low, self.high, *([] if self.step is None else [self.step])]
        body = f"interval({', '.join(map(format_yaml, ends))})"
        return f"tag(log, {body})" if self.log else body


@dataclass(frozen=True)
class Globbed:
    """`glob(res*)`: the options of a group by pattern."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]


@lru_cache(maxsize=4096)
def read_value(raw: str) -> Any:
    """Plain values, `Choices`, `Distribution` or `Globbed`; a `ConfigError` (returned, not raised) if it is none.

    Callers must copy lists and dicts before they change them: values are remembered.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from dlrun.config.hydra.rules import hydra_rules

    if (stepped := STEPPED.match(raw)) is not None:
        return _stepped(read_value(f"interval({stepped[1]})"), stepped[2])
    global _PARSER
    _PARSER = _PARSER or OverridesParser.create()
    for attempt in (str, _quoted_items, quote):
        try:
            with hydra_rules():
                return _plain(_PARSER.parse_override(f"k={attempt(raw)}"))
        except (HydraException, RecursionError, ValueError, ArithmeticError) as error:
            if SWEEP_FUNCTIONS.match(raw):
                return ConfigError(_unreadable(raw, str(error).splitlines()[-1]))
    return raw


_PARSER: Any = None


def _stepped(interval: object, text: str) -> Any:
    """`interval(8, 64, 8)`: Hydra's grammar knows no step, so it is read apart from the rest."""
    step = read_value(text)
    if not isinstance(interval, Distribution):
        return interval
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= interval.high - interval.low:
        return ConfigError(Problem("", f"{text!r} is no step of {interval}.", "It is written like interval(8, 64, 8)."))
    return replace(interval, step=step, integer=interval.integer and isinstance(step, int))


def _unreadable(raw: str, reason: str) -> Problem:
    """A sweep that is written wrongly: the reason, or where that is the parser's own, how it is written."""
    if not PARSER_WORDS.search(reason):
        return Problem("", f"{raw!r} is not a sweep that can be read: {reason}.")
    name = raw.split("(")[0].strip()
    return Problem("", f"{raw!r} is not a sweep that can be read.", f"It is written like {EXAMPLES[name]}.")


def _plain(override: Any) -> Any:
    """What Hydra's parser found, in our words."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Sweep

    value = override._value
    if isinstance(value, Glob):
        return Globbed(tuple(value.include), tuple(value.exclude))
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or not low < high:
            raise ValueError("an interval needs a lower end that is below the upper one")
        if "log" in value.tags and low <= 0:
            raise ValueError("an interval on a log scale must begin above 0")
        return Distribution(low, high, "log" in value.tags, isinstance(low, int) and isinstance(high, int))
    if not isinstance(value, Sweep):
        return override.value()
    items = list(_items(value))
    if not items:
        raise ValueError("it has no values")
    plain = tuple(Override._convert_value(item) for item in items)
    return Choices(plain, tuple(Override._get_value_element_as_str(item) for item in items))


def _items(sweep: Any) -> Iterator[Any]:
    """The elements of a choice or a range; ranges inside of choices are taken apart."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep, Sweep

    if isinstance(sweep, RangeSweep):
        start, stop = sweep.start or 0, sweep.stop or 0
        if not sweep.step or (stop - start) / sweep.step > LARGEST_SWEEP:
            raise ValueError(f"a range needs a step and at most {LARGEST_SWEEP} values")
        values: list[Any] = list(sweep.range()) if isinstance(sweep.range(), range) else _floats(sweep)
    elif isinstance(sweep, ChoiceSweep):
        values = [v for item in sweep.list for v in (_items(item) if isinstance(item, Sweep) else [item])]
    else:
        raise ValueError("an interval cannot stand beside other values")
    if sweep.shuffle:  # in an order that the same command finds again
        Random(0).shuffle(values)
    yield from values


def _floats(sweep: Any) -> list[float]:
    """`range(0.1,0.4,0.1)` as it is meant: 0.1, 0.2, 0.3 (Hydra adds up the binary numbers and finds 0.4, too)."""
    value, stop, step = (Decimal(repr(number)) for number in (sweep.start, sweep.stop, sweep.step))
    values = []
    while (value < stop) if step > 0 else (value > stop):
        values.append(float(value))
        value += step
    return values


def quote(text: str) -> str:
    """A text in quotes, so that Hydra's grammar reads it as it stands."""
    from hydra.core.override_parser.types import Quote, QuotedString

    kind = Quote.single if '"' in text and "'" not in text else Quote.double
    return QuotedString(text, kind).with_quotes()


def _quoted_items(raw: str) -> str:
    """A list or a comma list with every unreadable item in quotes: `[^conv, 3]` -> `["^conv",3]`."""
    text = raw.strip()
    inner, left, right = (text[1:-1], "[", "]") if text[:1] == "[" and text[-1:] == "]" else (text, "", "")
    items = _split_items(inner)
    if items is None or "" in items or (len(items) == 1 and not left):
        return quote(raw)
    return left + ",".join(item if _readable(item) else quote(item) for item in items) + right


def _readable(item: str) -> bool:
    from hydra.errors import HydraException

    try:
        _PARSER.parse_override(f"k={item}")
    except HydraException:
        return False
    return bool(item)


def _split_items(text: str) -> list[str] | None:
    """Cut at commas outside of brackets and quotes; None when these do not match."""
    items, depth, quoted, start = [], 0, "", 0
    for i, char in enumerate(text):
        if quoted:
            quoted = "" if char == quoted and text[i - 1] != "\\" else quoted
        elif char in "'\"":
            quoted = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            items.append(text[start:i].strip())
            start = i + 1
        if depth < 0:
            return None
    return None if depth or quoted else [*items, text[start:].strip()]


def needs_quotes(raw: str) -> str:
    """How a word's value must be written so that it means this text also to Hydra and the shell."""
    return f"'{quote(raw)}'"


def as_text(value: object) -> str:
    """A plain value as an override's text, so that it is read back as the same value."""
    if isinstance(value, str):
        return value if read_value(value) == value else quote(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(as_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_text(item)}" for key, item in value.items()) + "}"
    return repr(value) if isinstance(value, float) else format_yaml(value)

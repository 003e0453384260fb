"""Parse the values of overrides with Hydra's grammar. What the grammar cannot parse is taken as a string.

Examples of such strings are `~/x.csv`, `[^conv]`, `price (usd)`, `a=b` and `zoë`. The contract of the key decides later
whether it accepts a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

from dlrun.config.schema.contract import format_yaml
from dlrun.errors import ConfigError, Problem

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override, RangeSweep, Sweep

SWEEP_FUNCTIONS = re.compile(r"^\s*(choice|range|interval|glob|tag|sort|shuffle)\s*\(.*\)\s*$", re.DOTALL)
PARSER_WORDS = re.compile(r"no viable alternative|mismatched input|extraneous input|token recognition|missing '")
STEPPED = re.compile(r"\s*interval\(([^,()]+,[^,()]+),([^,()]+)\)\s*$")
SWEEP_EXAMPLES = {
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
    """The values of a swept key in order, and how each is written on the command line."""

    values: tuple[Any, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Distribution:
    """A range that a search draws from, on a linear or a log scale, of floats or whole numbers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None  # distance of the values: low, low + step, ..., up to high

    def __str__(self) -> str:
        ends = [self.low, self.high, *([] if self.step is None else [self.step])]
        body = f"interval({', '.join(map(format_yaml, ends))})"
        return f"tag(log, {body})" if self.log else body


@dataclass(frozen=True)
class Zipped:
    """Values that are tried in pairs: `zip(optimizer=sgd,adam; optimizer.lr=0.1,0.001)`."""

    keys: tuple[str, ...]
    choices: tuple[Choices, ...]  # of one length

    def rows(self) -> list[dict[str, Choices | Distribution]]:
        """The pairs: for each key the one value that it has in it."""
        pairs = [[Choices((v,), (t,)) for v, t in zip(c.values, c.texts, strict=True)] for c in self.choices]
        return [dict(zip(self.keys, row, strict=True)) for row in zip(*pairs, strict=True)]


@dataclass(frozen=True)
class Globbed:
    """Patterns of a group's options: `glob(res*)`."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]


@lru_cache(maxsize=4096)
def read_value(raw: str) -> Any:
    """Parse a value to plain values, `Choices`, a `Distribution` or `Globbed`.

    A `ConfigError` for an invalid sweep is returned, not raised, so that it is cached, too. Lists and dictionaries are
    cached: copy before changing.
    """
    from hydra.errors import HydraException

    from dlrun.config.hydra.rules import hydra_rules

    if (stepped := STEPPED.match(raw)) is not None:
        return _stepped(read_value(f"interval({stepped[1]})"), stepped[2])
    for attempt in (str, _quoted_items, quote):
        try:
            with hydra_rules():
                return _plain(_parser().parse_override(f"k={attempt(raw)}"))
        except (HydraException, RecursionError, ValueError, ArithmeticError) as error:
            if SWEEP_FUNCTIONS.match(raw):
                return ConfigError(_unreadable(raw, str(error).splitlines()[-1]))
    return raw


@cache
def _parser() -> OverridesParser:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _stepped(interval: object, text: str) -> Any:
    """An interval with a step, as in `interval(8, 64, 8)`, which Hydra's grammar does not have."""
    step = read_value(text)
    if not isinstance(interval, Distribution):
        return interval
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= interval.high - interval.low:
        return ConfigError(Problem("", f"{text!r} is no step of {interval}.", "It is written like interval(8, 64, 8)."))
    return replace(interval, step=step, integer=interval.integer and isinstance(step, int))


def _unreadable(raw: str, reason: str) -> Problem:
    """The problem of an invalid sweep. Instead of the parser's internal messages, an example is given."""
    if not PARSER_WORDS.search(reason):
        return Problem("", f"{raw!r} is not a sweep that can be read: {reason}.")
    name = raw.split("(")[0].strip()
    return Problem("", f"{raw!r} is not a sweep that can be read.", f"It is written like {SWEEP_EXAMPLES[name]}.")


def _plain(override: Override) -> Any:
    """Convert the result of Hydra's parser."""
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


def _items(sweep: Sweep) -> Iterator[Any]:
    """The elements of a choice or a range. Ranges inside of choices are expanded."""
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
    if sweep.shuffle:  # the same command gives the same order
        Random(0).shuffle(values)
    yield from values


def _floats(sweep: RangeSweep) -> list[float]:
    """The values of a range of floats, in decimal arithmetic: `range(0.1,0.4,0.1)` is 0.1, 0.2, 0.3.

    Hydra adds binary floats, whose sum is below 0.4, and gives 0.4 as well.
    """
    value, stop, step = (Decimal(repr(number)) for number in (sweep.start, sweep.stop, sweep.step))
    values = []
    while (value < stop) if step > 0 else (value > stop):
        values.append(float(value))
        value += step
    return values


def quote(text: str) -> str:
    """Quote a text so that Hydra's grammar takes it literally."""
    from hydra.core.override_parser.types import Quote, QuotedString

    kind = Quote.single if '"' in text and "'" not in text else Quote.double
    return QuotedString(text, kind).with_quotes()


def _quoted_items(raw: str) -> str:
    """Quote the items of a list or a comma-separated sweep that cannot be parsed: `[^conv, 3]` -> `["^conv",3]`."""
    text = raw.strip()
    inner, left, right = (text[1:-1], "[", "]") if text[:1] == "[" and text[-1:] == "]" else (text, "", "")
    items = split_items(inner)
    if items is None or "" in items or (len(items) == 1 and not left):
        return quote(raw)
    return left + ",".join(item if _readable(item) else quote(item) for item in items) + right


def _readable(item: str) -> bool:
    """Whether Hydra's grammar can parse this item."""
    from hydra.errors import HydraException

    try:
        _parser().parse_override(f"k={item}")
    except HydraException:
        return False
    return bool(item)


def split_items(text: str, at: str = ",") -> list[str] | None:
    """Split at the commas (or at `at`) outside of brackets and quotes. Returns None if these are not balanced."""
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
        elif char == at and depth == 0:
            items.append(text[start:i].strip())
            start = i + 1
        if depth < 0:
            return None
    return None if depth or quoted else [*items, text[start:].strip()]


def needs_quotes(raw: str) -> str:
    """Quote a text for the shell and for Hydra's grammar."""
    return f"'{quote(raw)}'"


def as_text(value: object) -> str:
    """Write a plain value so that `read_value` gives the same value again."""
    if isinstance(value, str):
        return value if read_value(value) == value else quote(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(as_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_text(item)}" for key, item in value.items()) + "}"
    return repr(value) if isinstance(value, float) else format_yaml(value)

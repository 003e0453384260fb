"""Points of a scrambled Halton sequence: spread evenly, the same for every option, and more of them keep the first.

Halton, "On the efficiency of certain quasi-random sequences of points", 1960; the digits are permuted at random, as in
Owen, "A randomized Halton algorithm in R", 2017 (arXiv:1706.02808), by a fixed generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from random import Random

from dlrun.config.job import Space
from dlrun.config.overrides.values import Distribution
from dlrun.plain import Values
from dlrun.sweep.samplers.base import rounded, steps_of

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # the bases: one for each key that is tuned
DIGITS = 40  # binary digits of a coordinate


def halton(number: int, dimension: int) -> float:
    """The coordinate in (0, 1) of point `number` (counted from 0) in one dimension of at most `len(PRIMES)`."""
    base = PRIMES[dimension]
    value, scale = 0.0, 1.0
    for place in range(math.ceil(DIGITS * math.log(2) / math.log(base))):
        scale /= base
        number, digit = divmod(number, base)
        value += digit_order(base, place)[digit] * scale
    return min(value + scale / 2, 1 - 2**-DIGITS)


@cache
def digit_order(base: int, place: int) -> tuple[int, ...]:
    """How the digits at a place are permuted."""
    digits = list(range(base))
    Random(f"halton {base} {place}").shuffle(digits)
    return tuple(digits)


def point(space: Mapping[str, Space], number: int) -> Values:
    """The values of one point, each mapped to the list or the range of its key."""
    return {key: at(choices, halton(number, i)) for i, (key, choices) in enumerate(space.items())}


def at(choices: Space, share: float) -> object:
    """The value at a share in [0, 1) of a list, or of a range on its scale."""
    if not isinstance(choices, Distribution):
        return choices[int(share * len(choices))]
    if choices.step is not None:
        return rounded(choices.low + choices.step * int(share * (steps_of(choices) + 1)), choices)
    if choices.log:
        low, high = math.log(choices.low), math.log(choices.high)
        return rounded(math.exp(low + share * (high - low)), choices)
    return rounded(choices.low + share * (choices.high - choices.low), choices)


def share_of_range(choices: Space, value: object) -> float | None:
    """The share at which a number lies in its range; None where there is no range."""
    if not isinstance(choices, Distribution) or not isinstance(value, int | float):
        return None
    if choices.log:
        return math.log(value / choices.low) / math.log(choices.high / choices.low)
    return (value - choices.low) / (choices.high - choices.low)

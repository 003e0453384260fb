"""Samplers propose values to try: their interface, and random search."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Protocol

from dlrun.config.job import Space
from dlrun.config.overrides.values import Distribution, as_text
from dlrun.plain import Values

DIGITS = 6  # significant digits of a drawn number: more would only lengthen the commands


class Sampler(Protocol):
    """Proposes values, and may learn from their results."""

    def ask(self, number: int, given: Values | None = None) -> tuple[int, Values]:
        """A trial's number and the values to try; `number` is the number of trials so far.

        Values that are `given` are not proposed; they lie in the space.
        """

    def again(self, trial: int) -> int:
        """The trial with which a job is continued: its own, or one with the same values if that has ended."""

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        """Report the metric (less is better) after an epoch. Returns whether the trial is pruned."""

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """Report the end of a trial: `finished`, `pruned` or `failed`. A repeated report has no effect."""


class RandomSampler:
    """Random search. The values depend on (seed, number) alone, so that a search can be continued.

    Of several grids, each is drawn equally often.
    """

    def __init__(self, spaces: Sequence[Mapping[str, Space]], seed: int) -> None:
        self.spaces, self.seed = spaces, seed

    def ask(self, number: int, given: Values | None = None) -> tuple[int, Values]:
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        draw = Random(int.from_bytes(digest, "big"))
        if given:
            space = self.spaces[space_of(self.spaces, given) or 0]
        else:
            space = self.spaces[0] if len(self.spaces) == 1 else draw.choice(self.spaces)
        return number, {key: drawn(choices, draw) for key, choices in space.items()} | (given or {})

    def again(self, trial: int) -> int:
        return trial

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        return False

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """Do nothing: random search does not learn."""


def space_of(spaces: Sequence[Mapping[str, Space]], values: Values) -> int | None:
    """The number of the first space that holds these values of some of its keys; None if none does."""
    for i, space in enumerate(spaces):
        if all(key in space and allows(space[key], value) for key, value in values.items()):
            return i
    return None


def allows(choices: Space, value: object) -> bool:
    """Whether a value is in the space of its key."""
    if isinstance(choices, Distribution):
        return isinstance(value, int | float) and choices.low <= value <= choices.high
    return as_text(value) in map(as_text, choices)


def drawn(choices: Space, draw: Random) -> Any:
    """Draw one value uniformly, on a log scale if the range has one."""
    if not isinstance(choices, Distribution):
        return draw.choice(choices)
    if choices.step is not None:
        return rounded(choices.low + choices.step * draw.randint(0, steps_of(choices)), choices)
    if choices.integer and not choices.log:
        return draw.randint(int(choices.low), int(choices.high))
    if choices.log:
        value = math.exp(draw.uniform(math.log(choices.low), math.log(choices.high)))
    else:
        value = draw.uniform(choices.low, choices.high)
    return rounded(value, choices)


def rounded(value: float, choices: Distribution) -> float | int:
    """A drawn number, rounded to `DIGITS` digits and to the steps of its range, and clipped to the range."""
    if choices.step is not None:
        value = choices.low + choices.step * min(round((value - choices.low) / choices.step), steps_of(choices))
    if choices.integer:
        return int(min(max(round(value), choices.low), choices.high))
    return min(max(float(f"{value:.{DIGITS}g}"), float(choices.low)), float(choices.high))


def steps_of(choices: Distribution) -> int:
    """How many steps a range has above its lower end."""
    return math.floor((choices.high - choices.low) / (choices.step or 1.0) + 1e-9)

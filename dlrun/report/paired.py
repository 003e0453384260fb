"""Tests of differences, on arrays of many pairs at once, and how many runs they need.

Sources: Student 1908 (the t test of paired differences); Nadeau and Bengio 2003 (its form for folds); Welch 1947 (two
independent samples); Fisher 1935, "The design of experiments", section 21 (flipping the signs of paired differences);
Wilcoxon 1945 (signed ranks); Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
POWER = 0.80
ALL_FLIPS = 16  # seeds up to which all flips of the signs are tried
DRAWN = 9_999  # flips that are drawn for more seeds
MOST_SEEDS = 10_000  # of which more are not counted
ROUNDING = 1e-12  # a spread below this share of the values is rounding
CHUNK = 64  # pairs whose flips are in memory at once


def t_test(differences: Floats, ratio: float = 0.0) -> Floats:
    """The two-sided p of Student's t test that the mean of each row of differences (P, n) is 0.

    `ratio` is n_test / n_train of folds, whose variance is larger for it; 0 for independent differences. Where the
    differences have no spread, p is 0, or 1 if they are all 0.
    """
    import numpy as np
    from scipy.special import stdtr

    n = differences.shape[1]
    means, error = differences.mean(1), differences.std(1, ddof=1) * math.sqrt(1 / n + ratio)
    flat = error <= ROUNDING * np.abs(differences).max(1)
    t = np.where(flat, 0.0, np.abs(means) / np.where(flat, 1.0, error))
    return np.where(flat, np.where(means == 0, 1.0, 0.0), 2 * stdtr(n - 1, -t))


def welch(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Welch's test of the difference of two independent means: p, the half width of its 95 % interval, and freedom."""
    from scipy.special import stdtr, stdtrit

    parts = [_variance(values) / len(values) for values in (one, other)]
    error = math.sqrt(math.fsum(parts))
    apart = abs(math.fsum(one) / len(one) - math.fsum(other) / len(other))
    if error <= ROUNDING * max(map(abs, (*one, *other))):
        return (0.0 if apart else 1.0), 0.0, float(len(one) + len(other) - 2)
    freedom = error**4 / math.fsum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (one, other), strict=True)
    )
    half = float(stdtrit(freedom, 1 - ALPHA / 2)) * error
    return float(2 * stdtr(freedom, -apart / error)), half, freedom


def _variance(values: Sequence[float]) -> float:
    center = math.fsum(values) / len(values)
    return math.fsum((value - center) ** 2 for value in values) / (len(values) - 1)


def sign_flip(differences: Floats) -> Floats:
    """The two-sided p of the sign-flip test that each row of differences (P, n) is symmetric about 0.

    It is the share of all 2^n flips of the signs whose sum is as far from 0 as the one that was seen: exact up to
    `ALL_FLIPS` seeds, and from then on (1 + k) / (1 + drawn) of flips from a fixed generator.
    """
    import numpy as np

    n = differences.shape[1]
    signs, seen = _flips(n), 0 if n <= ALL_FLIPS else 1
    found = []
    for start in range(0, len(differences), CHUNK):
        some = differences[start : start + CHUNK]
        sums = np.abs(signs @ some.T)  # (flips, P)
        own = np.abs(some.sum(1))
        near = 1e-9 * np.abs(some).sum(1)  # equal sums, but for rounding
        found.append(((sums >= own - near).sum(0) + seen) / (len(signs) + seen))
    return np.concatenate(found)


def _flips(n: int) -> Floats:
    """Rows of signs (F, n). Those of all flips begin with +1: the others have the same sums with the other sign."""
    import numpy as np

    if n > ALL_FLIPS:
        return np.random.default_rng(0).choice([-1.0, 1.0], size=(DRAWN, n))
    return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=n - 1)])


def signed_ranks(differences: Floats) -> Floats:
    """The ranks of the absolute differences of each row (P, n) with their signs; equal ones share a rank.

    An infinite difference, to a run that was lost, is the largest; no difference has rank 0.
    """
    import numpy as np

    found = np.zeros_like(differences)
    for row, values in enumerate(differences):
        sizes, place, equal = np.unique(np.abs(values[values != 0]), return_inverse=True, return_counts=True)
        found[row, values != 0] = (np.cumsum(equal) - (equal - 1) / 2)[place] if len(sizes) else 0.0
    return np.sign(differences) * found


def holm(p: Floats) -> Floats:
    """Holm's adjusted p over the last axis: the largest of (m - i) * p of those that are no larger."""
    import numpy as np

    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    raised = np.maximum.accumulate(np.take_along_axis(p, order, -1) * np.arange(m, 0, -1), axis=-1)
    found = np.empty_like(raised)
    np.put_along_axis(found, order, np.minimum(raised, 1.0), -1)
    return found


def smallest_p(n: int) -> float:
    """The smallest p that the sign-flip test of n seeds can give."""
    return 2.0 ** (1 - n) if n <= ALL_FLIPS else 1 / (DRAWN + 1)


def allows_exact(n: int, pairs: int) -> bool:
    """Whether the sign-flip test of n seeds can tell one of so many pairs apart."""
    return n >= 1 and smallest_p(n) * pairs <= ALPHA


def exact_needs(pairs: int) -> int | None:
    """The least number of seeds of which the sign-flip test can tell one of so many pairs apart; None if none can."""
    return next((n for n in range(1, ALL_FLIPS + 2) if allows_exact(n, pairs)), None)


def power(effect: Floats, n: Floats, alpha: float = ALPHA) -> Floats:
    """The power of the two-sided paired t test of n seeds, where the mean difference is `effect` deviations."""
    import numpy as np
    from scipy.special import nctdtr, stdtrit

    shift, bound = np.abs(effect) * np.sqrt(n), stdtrit(n - 1, 1 - alpha / 2)
    tails = [nctdtr(n - 1, end, bound) for end in (shift, -shift)]  # NaN where it is 0 to all digits
    within, below = (np.nan_to_num(tail, nan=empty) for tail, empty in zip(tails, (0.0, 1.0), strict=True))
    return np.clip(2.0 - within - below, 0.0, 1.0)


def seeds_for_power(effect: Floats, alpha: float = ALPHA) -> Floats:
    """The least number of seeds (2 to `MOST_SEEDS`, else inf) with a power of 80 %, for each effect in deviations."""
    import numpy as np

    low = np.full(effect.shape, 1.0)  # too few
    high = np.full(effect.shape, float(MOST_SEEDS))
    reached = power(effect, high, alpha) >= POWER
    while bool((high - low > 1).any()):
        middle = np.floor((low + high) / 2)
        enough = power(effect, np.maximum(middle, 2.0), alpha) >= POWER
        high, low = np.where(enough & (middle >= 2), middle, high), np.where(enough, low, middle)
    return np.where(reached, np.maximum(high, 2.0), np.inf)


def needed_seeds(means: Floats, deviations: Floats, n: int, pairs: int) -> tuple[Floats, Floats]:
    """How many seeds tell each difference apart with a power of 80 %, from and to, if it is what was seen.

    The range is that of the 95 % chi-square interval of the standard deviation of n differences. The level is that of
    Holm's first step, 0.05 / pairs. It is never below what the sign-flip test needs.
    """
    import numpy as np
    from scipy.special import chdtri

    least = float(exact_needs(pairs) or 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [deviations * math.sqrt((n - 1) / float(chdtri(n - 1, tail))) for tail in (0.025, 0.975)]
        effects = [np.where(end > 0, np.abs(means) / end, np.where(means == 0, 0.0, np.inf)) for end in ends]
    low, high = (seeds_for_power(np.minimum(effect, 1e3), ALPHA / pairs) for effect in effects)
    return np.maximum(low, least), np.maximum(high, least)

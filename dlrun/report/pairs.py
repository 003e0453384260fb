"""Which options of a comparison differ: every pair of them, tested on the seeds (or folds) that both have.

Runs of one seed share the split and the batches where the options train on the same data: their difference is the
seed's. Student's t test is taken of these differences, and where there are enough of them the exact sign-flip test,
too; two options differ where both say so after Holm's correction over all pairs of options. Options of other data or
other seeds are compared by Welch's test of independent runs.

A run that diverged or failed to finish loses to every other. Such a pair has no mean difference: its p is that of the
sign-flip test of the signed ranks, in which a lost run has the largest difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlrun.report import paired
from dlrun.report.intervals import (
    LEAST_FOLDS,
    ConfidenceInterval,
    MetricScale,
    fold_interval,
    interval,
    mean_of,
    median_of,
)
from dlrun.report.stats import SCALE, RunGroup, measured

MOST_OPTIONS = 60  # of more, the best alone is compared with each other, with Bonferroni's correction for all pairs


@dataclass(frozen=True)
class Pair:
    """Two options, of which the first is ranked better, and how they differ.

    Args:
        first: the option that is ranked better.
        second: the other one.
        kind: `seeds`, `folds`, `unpaired`, or `none` where there are too few runs for a test.
        differences: first minus second by seed (or fold); infinite where one of the two was lost.
        difference: their mean with its interval, or their median where a run was lost.
        wins: on how many of `differences` the first is better; None for unpaired runs.
        sizes: the numbers of runs of both that are compared.
        p: of the t test (Welch's for unpaired runs, Nadeau's and Bengio's for folds).
        exact: p of the sign-flip test.
        p_adjusted: p after Holm's correction.
        exact_adjusted: exact after Holm's correction.
        differ: whether the two differ.
        needed: seeds for a power of 80 %, from and to, if the difference is the one that was seen.
    """

    first: RunGroup
    second: RunGroup
    kind: str
    differences: tuple[float, ...] = ()
    difference: ConfidenceInterval | None = None
    wins: int | None = None
    sizes: tuple[int, int] = (0, 0)
    p: float | None = None
    exact: float | None = None
    p_adjusted: float | None = None
    exact_adjusted: float | None = None
    differ: bool = False
    needed: tuple[float, float] | None = None

    @property
    def lost(self) -> bool:
        """Whether a run of the pair was lost."""
        return any(math.isinf(value) for value in self.differences) or (self.kind == "unpaired" and self.p is None)

    @property
    def shares_weights(self) -> bool:
        """Whether runs of one seed begin with the same weights."""
        return self.first.rows[0].model == self.second.rows[0].model

    @property
    def is_flat(self) -> bool:
        """Whether all differences are the same, which the t test knows nothing of."""
        found = self.difference
        if found is None or found.low is None or found.high is None:
            return False
        return found.high - found.low <= 100 * paired.ROUNDING * abs(found.center)


@dataclass(frozen=True)
class Pairs:
    """The pairs of a comparison, and how many there are of all its options."""

    found: tuple[Pair, ...] = ()
    count: int = 0

    def of(self, best: RunGroup) -> list[Pair]:
        """Those in which an option is ranked better."""
        return [pair for pair in self.found if pair.first is best]


NO_PAIRS = Pairs()


def compare_pairs(ranked: Sequence[RunGroup]) -> Pairs:
    """Test every pair of options, best first, that have a run with a result or a lost one."""
    options = [one for one in ranked if one.counted or one.lost]
    count = math.comb(len(options), 2)
    if len(options) > MOST_OPTIONS:
        couples = [(options[0], other) for other in options[1:]]
    else:
        couples = list(itertools.combinations(options, 2))
    found = _tested([_match(*couple) for couple in couples], count)
    return Pairs(tuple(_decided(found, count)), count)


def difference(one: RunGroup, other: RunGroup, name: str | None = None) -> ConfidenceInterval | None:
    """The interval of `one` minus `other` over the folds that both have, of a test metric or the ranked metric."""
    return fold_interval([value for value in _by_fold(one, other, name) if math.isfinite(value)], one.ratio(name))


# --- which runs are pairs ---------------------------------------------------------------------------------------------


def _match(first: RunGroup, second: RunGroup) -> Pair:
    scale = first.scales.get(None, SCALE)
    if first.folds and second.folds:
        return _paired(first, second, "folds", _by_fold(first, second, None))
    mine, theirs = (_by_repeat(one, scale) for one in (first, second))
    shared = [repeat for repeat in mine if repeat in theirs]
    if first.rows[0].data == second.rows[0].data and (len(shared) > 1 or len(mine) == len(theirs) == len(shared) == 1):
        return _paired(first, second, "seeds", [_minus(mine[repeat], theirs[repeat]) for repeat in shared])
    return Pair(first, second, "unpaired", sizes=(len(_values(first, scale)), len(_values(second, scale))))


def _paired(first: RunGroup, second: RunGroup, kind: str, differences: Sequence[float]) -> Pair:
    sign = -1 if first.scales.get(None, SCALE).better == "max" else 1
    wins, n = sum(sign * value < 0 for value in differences), len(differences)
    pair = Pair(first, second, kind if n > 1 else "none", tuple(differences), wins=wins, sizes=(n, n))
    if not differences:
        return pair
    if pair.lost:
        center = median_of(differences)
        known = ConfidenceInterval(n, center, is_median=True) if math.isfinite(center) else None
        return replace(pair, difference=known)
    plain = fold_interval(differences, first.ratio()) if kind == "folds" else interval(differences)
    return replace(pair, difference=plain)


def _values(group: RunGroup, scale: MetricScale) -> list[float]:
    """The results of a group, of which those of lost runs are infinite."""
    return [value for row in group.counted if (value := row.value) is not None] + [scale.worst for _ in group.lost]


def _by_repeat(group: RunGroup, scale: MetricScale, name: str | None = None) -> dict[object, float]:
    """By seed and fold, a result that is infinite for a lost run."""
    found: dict[object, float] = {}
    for row in group.rows:
        value = scale.worst if row.lost else measured(row, name) if row.counts else None
        if value is not None and row.repeat is not None:
            found[row.repeat] = value
    return found


def _minus(one: float, other: float) -> float:
    """The difference of two results; 0 of two lost runs."""
    return 0.0 if one == other else one - other


def _by_fold(one: RunGroup, other: RunGroup, name: str | None) -> list[float]:
    """By fold that both have, the mean difference over the seeds that both have, or else of the means over seeds."""
    scale = one.scales.get(name, SCALE)
    mine, theirs = (_by_repeat(group, scale, name) for group in (one, other))
    folds: dict[object, list[float]] = {}
    for repeat in mine:
        if repeat in theirs and isinstance(repeat, tuple):
            folds.setdefault(repeat[1], []).append(_minus(mine[repeat], theirs[repeat]))
    means, others = one.fold_means(name), other.fold_means(name)
    for fold in means:
        if fold in others and fold not in folds:
            folds[fold] = [means[fold] - others[fold]]
    return [_mean(folds[fold]) for fold in sorted(folds, key=str)]


def _mean(values: Sequence[float]) -> float:
    """The mean, which is infinite if more of the infinite values lie on one side."""
    infinite = [value for value in values if math.isinf(value)]
    if not infinite:
        return mean_of(values)
    more = sum(math.copysign(1, value) for value in infinite)
    return math.copysign(math.inf, more) if more else 0.0


# --- tests ------------------------------------------------------------------------------------------------------------


def _tested(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The pairs with p and, of seeds, the exact p where it can be small enough, and the seeds that they need."""
    found = list(pairs)
    for place, pair in enumerate(pairs):
        if pair.kind == "folds":
            found[place] = _with_folds(pair)
        elif pair.kind == "unpaired":
            found[place] = _with_welch(pair)
    for lost in (False, True):
        sizes = {len(pair.differences) for pair in pairs if pair.kind == "seeds" and pair.lost == lost}
        for n in sorted(sizes):
            places = [
                place for place, pair in enumerate(pairs)
                if pair.kind == "seeds" and pair.lost == lost and len(pair.differences) == n
            ]  # fmt: skip
            for place, pair in zip(places, _with_seeds([pairs[i] for i in places], n, count, lost), strict=True):
                found[place] = pair
    return found


def _with_seeds(pairs: Sequence[Pair], n: int, count: int, lost: bool) -> list[Pair]:
    """Pairs of n seeds each, none or each of which has a lost run."""
    import numpy as np

    differences = np.array([pair.differences for pair in pairs])
    exact: list[float] | list[None] = [None] * len(pairs)
    if paired.allows_exact(n, count):
        of = paired.signed_ranks(differences) if lost else differences
        exact = [float(p) for p in paired.sign_flip(of)]
    if lost:
        return [replace(pair, exact=p) for pair, p in zip(pairs, exact, strict=True)]
    ps = paired.t_test(differences)
    ranges = paired.needed_seeds(differences.mean(1), differences.std(1, ddof=1), n, count)
    return [
        replace(pair, p=float(p), exact=e, needed=(float(low), float(high)))
        for pair, p, e, low, high in zip(pairs, ps, exact, *ranges, strict=True)
    ]


def _with_folds(pair: Pair) -> Pair:
    import numpy as np

    ratio = pair.first.ratio()
    if pair.lost or ratio is None or len(pair.differences) < LEAST_FOLDS:
        return pair
    return replace(pair, p=float(paired.t_test(np.array([pair.differences]), ratio)[0]))


def _with_welch(pair: Pair) -> Pair:
    """An unpaired pair, which has no test if one option has a single run or a lost one."""
    scale = pair.first.scales.get(None, SCALE)
    one, other = (_values(group, scale) for group in (pair.first, pair.second))
    if min(len(one), len(other)) < 2 or any(map(math.isinf, (*one, *other))):
        return replace(pair, kind="none" if min(len(one), len(other)) < 2 else "unpaired")
    p, half, _ = paired.welch(one, other)
    apart = mean_of(one) - mean_of(other)
    found = ConfidenceInterval(len(one) + len(other), apart, None, apart - half, apart + half)
    return replace(pair, p=p, difference=found)


def _decided(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The pairs with adjusted p, and whether they differ. A pair without a test counts as one with p = 1."""
    if not pairs:
        return []
    tests = _adjusted([pair.p if pair.p is not None else pair.exact for pair in pairs], count)
    exacts = _adjusted([pair.exact for pair in pairs], count)
    return [
        _with_verdict(replace(pair, p_adjusted=t if pair.p is not None else None, exact_adjusted=e))
        for pair, t, e in zip(pairs, tests, exacts, strict=True)
    ]


def _adjusted(ps: Sequence[float | None], count: int) -> list[float | None]:
    import numpy as np

    known = np.array([1.0 if p is None else p for p in ps])
    adjusted = paired.holm(known) if len(ps) == count else np.minimum(known * count, 1.0)
    return [None if p is None else float(q) for p, q in zip(ps, adjusted, strict=True)]


def _with_verdict(pair: Pair) -> Pair:
    """Both tests must say so; one that cannot be taken says nothing, but then the other needs a spread."""
    said = [p <= paired.ALPHA for p in (pair.p_adjusted, pair.exact_adjusted) if p is not None]
    return replace(pair, differ=bool(said) and all(said) and (pair.exact is not None or not pair.is_flat))

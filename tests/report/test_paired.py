"""Tests of differences: against scipy, by hand, and on simulated tables of equals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from dlrun.report import paired
from dlrun.report.intervals import MetricScale, interval
from dlrun.report.pair_table import format_needed, format_p, pair_table, pairs_csv
from dlrun.report.pairs import MOST_OPTIONS, Pair, Pairs, compare_pairs
from dlrun.report.stats import Fold, PairRow, RunGroup, group, rank

TABLES = 1000  # simulated tables of each setting
RNG = np.random.default_rng(7)


def label(one: RunGroup) -> str:
    return str(one.keys["optimizer"])


def options(
    mode: str = "min", data: Sequence[str] = (), model: Sequence[str] = (), **values: Sequence[float | None]
) -> Pairs:
    """The tests of options with a value by seed, of which None is a run that was lost."""
    rows = [
        PairRow({"optimizer": name}, seed, value, status="failed" if value is None else "finished",
                data=dict(zip(values, data, strict=False)).get(name, ""),
                model=dict(zip(values, model, strict=False)).get(name, ""))
        for name, some in values.items() for seed, value in enumerate(some)
    ]  # fmt: skip
    return compare_pairs(rank(group(rows, {None: MetricScale(mode)}), mode))


def only(pairs: Pairs) -> Pair:
    (pair,) = pairs.found
    return pair


# --- against scipy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 7, 30])
def test_the_t_test_equals_scipys(n: int) -> None:
    differences = RNG.normal(0.4, 1, (5, n))
    assert paired.t_test(differences) == pytest.approx(scipy_stats.ttest_1samp(differences, 0, axis=1).pvalue)
    pair = only(options(a=list(differences[0]), b=[0.0] * n))
    found = scipy_stats.ttest_rel(differences[0], [0.0] * n).confidence_interval()
    sign = 1 if label(pair.first) == "a" else -1
    assert pair.difference is not None
    ends = sorted([sign * pair.difference.low, sign * pair.difference.high])  # type: ignore[operator]
    assert ends == pytest.approx([found.low, found.high])


def test_the_t_test_of_folds_by_hand() -> None:
    """s = 1, mean = 2, k = 3: t = 2 / sqrt(1/3 + 1/2) with 2 degrees of freedom."""
    expected = 2 * scipy_stats.t.sf(2 / (5 / 6) ** 0.5, 2)
    assert paired.t_test(np.array([[1.0, 2.0, 3.0]]), 0.5)[0] == pytest.approx(expected)
    rows = [
        PairRow({"optimizer": name}, 0, value + shift, fold=Fold(fold, 3, {"val": 0.5}))
        for name, shift in (("a", 0.0), ("b", 1.0)) for fold, value in enumerate((0.0, shift, 2 * shift))
    ]  # fmt: skip
    pair = only(compare_pairs(rank(group(rows), "min")))
    assert (pair.kind, pair.sizes, pair.p) == ("folds", (3, 3), pytest.approx(expected))
    assert (pair.exact, pair.wins) == (None, 3), "folds share rows: flips of their signs are not alike"


@pytest.mark.parametrize("sizes", [(5, 8), (2, 3), (10, 4)])
def test_welchs_test_equals_scipys(sizes: tuple[int, int]) -> None:
    one, other = (RNG.normal(mean, std, n).tolist() for mean, std, n in zip((0, 1), (1, 3), sizes, strict=True))
    expected = scipy_stats.ttest_ind(one, other, equal_var=False)
    p, half, freedom = paired.welch(one, other)
    found = expected.confidence_interval()
    assert (p, freedom) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))
    assert half == pytest.approx((found.high - found.low) / 2)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_the_sign_flip_test_equals_scipys_and_that_of_ranks_is_wilcoxons(n: int) -> None:
    differences = RNG.normal(0.5, 1, (3, n))
    for row, p in zip(differences, paired.sign_flip(differences), strict=True):
        expected = scipy_stats.permutation_test((row,), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert p == pytest.approx(expected.pvalue)
    ranks = paired.sign_flip(paired.signed_ranks(differences))
    assert ranks == pytest.approx([scipy_stats.wilcoxon(row, method="exact").pvalue for row in differences])


def test_the_sign_flip_test_by_hand() -> None:
    one_sided = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0, -1.0], [0.0] * 6])
    assert paired.sign_flip(one_sided).tolist() == [2 / 64, 14 / 64, 1.0], "2 * (1 + 6) of 64 are as far from 0"
    far = RNG.normal(3, 1, (1, 30))
    assert paired.sign_flip(far)[0] == 1 / 10_000, "of 9,999 that are drawn none is as far"
    assert paired.sign_flip(far)[0] == paired.sign_flip(far)[0]
    middle = RNG.normal(0.3, 1, (1, 17))
    assert paired.sign_flip(middle)[0] == pytest.approx(paired.t_test(middle)[0], abs=0.02)


def test_signed_ranks_share_ties_and_put_lost_runs_last() -> None:
    found = paired.signed_ranks(np.array([[-0.5, 0.5, 0.0, math.inf, -2.0], [0.0, 0.0, 0.0, 0.0, 0.0]]))
    assert found.tolist() == [[-1.5, 1.5, 0.0, 4.0, -3.0], [0.0] * 5]


@pytest.mark.parametrize("shape", [(6,), (4, 15)])
def test_holms_correction_by_hand(shape: tuple[int, ...]) -> None:
    assert paired.holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert paired.holm(np.array([0.9, 0.6])).tolist() == [1.0, 1.0]
    ps = RNG.uniform(0, 0.1, shape)
    for row, found in zip(ps.reshape(-1, shape[-1]), paired.holm(ps).reshape(-1, shape[-1]), strict=True):
        order, m = np.argsort(row), len(row)
        expected = [max(min(1, (m - j) * row[order[j]]) for j in range(i + 1)) for i in range(m)]
        assert found[order] == pytest.approx(expected)


def test_what_the_exact_test_needs() -> None:
    """2 / 2^n times the pairs must not be above 0.05: 6 seeds for one pair, 8 for the six of four options."""
    assert [paired.exact_needs(pairs) for pairs in (1, 3, 6, 15, 28)] == [6, 7, 8, 10, 11]
    for pairs in (1, 6, 28):
        needs = paired.exact_needs(pairs)
        assert needs is not None
        assert 2 / 2**needs * pairs <= 0.05 < 2 / 2 ** (needs - 1) * pairs
    assert paired.exact_needs(10_000) is None


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_the_seeds_for_a_power_are_those_of_the_noncentral_t(effect: float, alpha: float) -> None:
    def reaches(n: int) -> bool:
        bound, shift = scipy_stats.t.ppf(1 - alpha / 2, n - 1), effect * n**0.5
        tails = scipy_stats.nct.sf(bound, n - 1, shift) + scipy_stats.nct.cdf(-bound, n - 1, shift)
        return bool(tails >= 0.8)

    expected = next(n for n in range(2, 1000) if reaches(n))
    assert paired.seeds_for_power(np.array([effect, 0.0]), alpha).tolist() == [expected, math.inf]


def test_the_needed_seeds_are_a_range_and_never_fewer_than_the_exact_test_needs() -> None:
    """s = 1, n = 10: the chi-square interval is 0.688 to 1.826; d = 1."""
    ends = [math.sqrt(9 / scipy_stats.chi2.ppf(q, 9)) for q in (0.975, 0.025)]
    assert ends == pytest.approx([0.688, 1.826], abs=1e-3)
    expected = [paired.seeds_for_power(np.array([1 / end]))[0] for end in ends]
    low, high = paired.needed_seeds(np.array([1.0]), np.array([1.0]), 10, 1)
    assert [low[0], high[0]] == [max(6, expected[0]), expected[1]]
    assert paired.needed_seeds(np.array([9.0]), np.array([1.0]), 10, 6)[0][0] == 8


# --- which runs are pairs, and what is told apart ---------------------------------------------------------------------


def test_pairs_are_of_the_seeds_that_both_have() -> None:
    pair = only(options(a=[1.0, 2.0, 3.0, 9.0], b=[1.5, 2.25, 3.5]))
    assert (label(pair.first), pair.kind, pair.sizes, pair.wins) == ("b", "seeds", (3, 3), 0), (
        "a's mean is worse for the 9"
    )
    assert pair.differences == (0.5, 0.25, 0.5)
    assert pair.difference == interval([0.5, 0.25, 0.5])


def test_other_data_or_other_seeds_are_compared_by_welchs_test() -> None:
    a, b = [1.0, 1.1, 1.3], [2.0, 2.2, 2.3]
    expected = scipy_stats.ttest_ind(a, b, equal_var=False).pvalue
    pair = only(options(a=a, b=b, data=("x", "y")))
    assert (pair.kind, pair.p, pair.wins) == ("unpaired", pytest.approx(expected), None)
    rows = [
        PairRow({"optimizer": n}, s, v)
        for n, first, some in (("a", 0, a), ("b", 5, b))
        for s, v in enumerate(some, first)
    ]
    other = compare_pairs(rank(group(rows), "min"))
    assert only(other).p == pytest.approx(expected)
    table = pair_table(other, label)
    assert table is not None
    assert "Unpaired runs: they share no seeds, so Welch's test is taken." in table.notes
    text = str(pair_table(options(a=a, b=b, data=("x", "y")), label))
    assert "they share no split or batches, so Welch's test" in text


def test_weights_are_shared_by_equal_models_alone() -> None:
    a, b = [1.0, 1.1, 1.3], [2.0, 2.2, 2.3]
    assert "Seeds are pairs: they share split, batches and first weights." in str(pair_table(options(a=a, b=b), label))
    other = str(pair_table(options(a=a, b=b, model=("mlp", "cnn")), label))
    assert "they share split and batches, not the first weights, where the models differ." in other


def test_a_lost_run_loses_every_pair() -> None:
    worse = [value + 1 for value in range(6)]
    pair = only(options(a=[0.0, 1.0, 2.0, 3.0, 4.0, None], b=worse))
    assert (label(pair.first), pair.wins, pair.p) == ("a", 5, None)
    assert pair.differences[-1] == math.inf
    assert pair.exact == 34 / 64, "ranks 3, 3, 3, 3, 3 against 6: 34 flips of 64 are 9 or more from 0"
    assert not pair.differ
    both = only(options(a=[0.0, None], b=[1.0, None]))
    assert both.differences == (-1.0, 0.0), "both lost"
    every = options(mode="max", a=[0.9] * 6, b=[None] * 6)
    assert only(every).exact == 2 / 64
    assert only(every).differ
    assert only(options(mode="max", a=[0.9] * 5, b=[None] * 5)).exact is None, "five seeds are too few"


def test_two_differ_where_both_tests_say_so() -> None:
    """One outlier: the t test says nothing though every sign is the same."""
    first = [0.0] * 6
    alike = only(options(a=first, b=[1.0, 1.1, 0.9, 1.0, 1.05, 1.0]))
    assert (alike.exact_adjusted, alike.differ) == (2 / 64, True)
    outlier = only(options(a=first, b=[0.01, 0.01, 0.012, 0.011, 0.01, 9.0]))
    assert (outlier.exact_adjusted, outlier.differ) == (2 / 64, False)
    assert outlier.p_adjusted is not None
    assert outlier.p_adjusted > 0.05
    five = only(options(a=first[:5], b=[1.0, 1.1, 0.9, 1.0, 1.05]))
    assert (five.exact, five.differ) == (None, True)
    text = str(pair_table(options(a=first[:5], b=[1.0, 1.1, 0.9, 1.0, 1.05]), label))
    assert "5 seeds: rests on normal differences; an exact test needs 6." in text


def test_equal_differences_of_a_few_seeds_are_no_proof() -> None:
    """Accuracies of few rows: two seeds with a difference of one row each have no spread at all."""
    assert not only(options(mode="max", a=[0.96, 0.92], b=[0.94, 0.90])).differ
    assert only(options(mode="max", a=[0.96] * 6, b=[0.94] * 6)).differ
    assert not only(options(a=[0.5] * 3, b=[0.5] * 3)).differ


def test_holms_correction_counts_all_pairs_of_options() -> None:
    found = options(a=[1.0, 1.1, 1.2, 1.05], b=[1.2, 1.35, 1.4, 1.22], c=[1.3, 1.2, 1.5, 1.4], d=[5.0, 5.1, 5.2, None])
    assert found.count == len(found.found) == 6
    known = [1.0 if pair.p is None else pair.p for pair in found.found]
    assert [pair.p_adjusted for pair in found.found if pair.p is not None] == pytest.approx(
        [q for p, q in zip(found.found, paired.holm(np.array(known)), strict=True) if p.p is not None]
    )
    single = options(a=[1.0, 1.1, 1.2], b=[2.0, 2.1, 2.3], c=[1.0])
    assert single.count == 3, "an option of one seed has no test, and is one of the options"


def test_of_very_many_options_the_best_is_compared_with_each() -> None:
    names = [f"o{n}" for n in range(MOST_OPTIONS + 1)]
    values = {name: [place + noise for noise in (0.0, 0.1, 0.05)] for place, name in enumerate(names)}
    values["o1"] = [1.0, 1.2, 1.3]
    found = options(**values)
    assert found.count == math.comb(len(names), 2)
    assert len(found.found) == MOST_OPTIONS
    first = found.found[0]
    assert first.p is not None
    assert first.p_adjusted == pytest.approx(min(1.0, first.p * found.count))
    assert "Bonferroni" in str(pair_table(found, label))


def test_the_table_of_pairs_and_its_file() -> None:
    found = options(mode="max", a=[0.9, 0.92, 0.91], b=[0.9, 0.91, 0.92], c=[0.5, 0.55, 0.52])
    table = pair_table(found, label)
    assert table is not None
    assert list(table.headers) == [
        "option",
        "against",
        "n",
        "difference",
        "better on",
        "p",
        "verdict",
        "seeds for 80 %",
    ]
    lines = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [(line["option"], line["against"], line["verdict"]) for line in lines] == [
        ("a", "b", "not told apart"), ("a", "c", "differ"), ("b", "c", "differ")
    ]  # fmt: skip
    assert lines[0]["better on"] == "1 of 3"
    assert lines[1]["seeds for 80 %"] == ""
    rows = pairs_csv(found, label).splitlines()
    assert len(rows) == 4
    assert rows[0].startswith("option,against,test,n,")
    assert rows[0].endswith(",option.optimizer,against.optimizer")
    assert pairs_csv(options(a=[1.0], b=[2.0]), label) == ""
    assert pair_table(options(a=[1.0], b=[2.0]), label) is None


def test_numbers_of_the_table() -> None:
    assert [format_p(p) for p in (None, 0.0, 2e-5, 0.0312, 1.0)] == ["", "0", "2.0e-05", "0.031", "1.000"]
    pair = only(options(a=[1.0, 2.0], b=[1.5, 2.2]))

    def shown(low: float, high: float) -> str:
        from dataclasses import replace

        return format_needed(replace(pair, needed=(low, high)))

    assert [shown(8, 30), shown(8, 8), shown(12, math.inf), shown(math.inf, math.inf)] == [
        "8 to 30", "8", "12 to more than 10,000", "more than 10,000"
    ]  # fmt: skip


# --- simulations ------------------------------------------------------------------------------------------------------

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
WORLDS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t with 3 degrees": lambda rng, shape: rng.standard_t(3, size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "unequal spreads": lambda rng, shape: rng.normal(size=shape) * 4.0 ** np.arange(shape[1])[None, :, None],
}


def declared(tables: np.ndarray) -> np.ndarray:
    """Which of tables (T, options, seeds) declare any difference, by the rule of `pairs`, for all tables at once."""
    count, seeds = math.comb(tables.shape[1], 2), tables.shape[2]
    couples = list(itertools.combinations(range(tables.shape[1]), 2))
    differences = np.stack([tables[:, i] - tables[:, j] for i, j in couples], 1).reshape(-1, seeds)
    said = paired.holm(paired.t_test(differences).reshape(-1, count)) <= paired.ALPHA
    if paired.allows_exact(seeds, count):
        said &= paired.holm(paired.sign_flip(differences).reshape(-1, count)) <= paired.ALPHA
    return said


def test_the_rule_of_the_simulations_is_that_of_comparisons() -> None:
    tables = np.random.default_rng(3).normal(size=(20, 3, 7)) + np.array([0.0, 0.3, 1.5])[None, :, None]
    for table, expected in zip(tables, declared(tables), strict=True):
        found = options(**{str(option): values for option, values in enumerate(table.tolist())})
        told = {frozenset((label(pair.first), label(pair.second))): pair.differ for pair in found.found}
        couples = itertools.combinations("012", 2)
        assert [told[frozenset(couple)] for couple in couples] == expected.tolist()
    assert declared(tables).any()


def false_alarms(world: str, count: int, seeds: int) -> float:
    rng = np.random.default_rng([count, seeds, *world.encode()])
    return float(declared(WORLDS[world](rng, (TABLES, count, seeds))).any(1).mean())


MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TABLES)


@pytest.mark.parametrize(("count", "seeds"), [(2, 3), (6, 6), (4, 8)])
@pytest.mark.parametrize("world", WORLDS)
def test_tables_of_equals_declare_a_difference_as_rarely_as_they_say(world: str, count: int, seeds: int) -> None:
    assert false_alarms(world, count, seeds) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize("world", WORLDS)
def test_tables_of_equals_of_every_size_declare_few_differences(world: str, count: int) -> None:
    found = {seeds: false_alarms(world, count, seeds) for seeds in range(3, 11)}
    assert max(found.values()) <= MOST, found


@pytest.mark.parametrize("seeds", [5, 10])
def test_the_power_of_the_t_test_is_that_of_the_noncentral_t(seeds: int) -> None:
    """Two options whose mean difference is one standard deviation of the differences."""
    differences = np.random.default_rng(seeds).normal(1, 1, (10 * TABLES, seeds))
    bound, shift = scipy_stats.t.ppf(0.975, seeds - 1), seeds**0.5
    expected = scipy_stats.nct.sf(bound, seeds - 1, shift) + scipy_stats.nct.cdf(-bound, seeds - 1, shift)
    assert (paired.t_test(differences) <= 0.05).mean() == pytest.approx(expected, abs=0.03)
    assert paired.power(np.array([1.0]), np.array([float(seeds)]))[0] == pytest.approx(expected)

"""The arithmetic of comparisons, against scipy and values worked out by hand; and what the remarks say."""

from __future__ import annotations

import math

import pytest
from scipy import stats as scipy_stats

from dlrun.report.intervals import MetricScale, interval
from dlrun.report.pairs import NO_PAIRS, compare_pairs
from dlrun.report.remarks import remarks
from dlrun.report.stats import PairRow, RunGroup, count_repeated, group, rank
from dlrun.report.targets import Reached, first_reached, sum_up


def label(one: RunGroup) -> str:
    return " ".join(f"{key}={value}" for key, value in one.keys.items())


def rows(values: dict[float, list[float]], **options: object) -> list[PairRow]:
    """Rows of one lr each, one value a seed."""
    return [
        PairRow({"optimizer.lr": lr}, seed=seed, value=value, **options)  # type: ignore[arg-type]
        for lr, some in values.items()
        for seed, value in enumerate(some)
    ]


def said(some: list[PairRow], mode: str = "min", metric: str = "val_loss", target: float | None = None) -> str:
    ranked = rank(group(some, {None: MetricScale(mode)}), mode)
    return "\n".join(remarks(ranked, metric, mode, label, target, pairs=compare_pairs(ranked)))


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.1, 0.4, 0.35, 0.2, 0.9], [3.0, 3.1, 2.0]])
def test_interval_equals_scipys(values: list[float]) -> None:
    found = interval(values)
    assert found is not None
    assert found.n == len(values)
    error = scipy_stats.sem(values)
    low, high = scipy_stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=error)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.std == pytest.approx(scipy_stats.tstd(values))


def test_interval_by_hand_and_of_one_value() -> None:
    found = interval([1.0, 3.0])  # s = sqrt 2, t(0.975, 1) = 12.7062, half = 12.7062 * sqrt 2 / sqrt 2
    assert found is not None
    assert found.high == pytest.approx(2 + 12.7062, abs=1e-3)
    flat = interval([3.0, 3.0, 3.0])
    assert flat is not None
    assert (flat.std, flat.low, flat.high) == (0.0, 3.0, 3.0)
    single = interval([5.0])
    assert single is not None
    assert (single.n, single.center, single.std, single.low) == (1, 5.0, None, None)
    assert interval([]) is None


def test_rows_that_differ_only_in_the_seed_are_one_group() -> None:
    groups = group(rows({0.1: [1.0, 2.0, 3.0], 0.01: [4.0, 6.0]}))
    assert [(one.keys["optimizer.lr"], one.value.n, one.value.center) for one in groups if one.value] == [
        (0.1, 3, 2.0),
        (0.01, 2, 5.0),
    ]


def test_one_and_true_are_different_settings() -> None:
    assert len(group([PairRow({"a": 1}), PairRow({"a": True}), PairRow({"a": 1.0})])) == 2


def test_a_repeated_seed_counts_once_and_the_newest_counts() -> None:
    some = [PairRow({}, seed=0, value=1.0), PairRow({}, seed=0, value=2.0), PairRow({}, seed=1, value=4.0)]
    (one,) = group(some)
    assert one.value is not None
    assert (one.value.n, one.value.center) == (2, 3.0)
    assert count_repeated(some) == 1


def test_an_unfinished_run_is_left_out_and_a_failed_one_makes_a_median() -> None:
    some = [PairRow({}, seed=0, value=1.0), PairRow({}, seed=1, value=9.0, status="interrupted")]
    (one,) = group(some)
    assert one.value is not None
    assert (one.value.center, one.value.n, one.value.is_median) == (1.0, 1, False)
    some += [PairRow({}, seed=2, value=3.0), PairRow({}, seed=3, value=9.0, status="failed", diverged=True)]
    (one,) = group(some)
    assert one.value is not None
    assert (one.value.center, one.value.n, one.value.is_median) == (3.0, 2, True), "of 1, 3 and the worst"
    assert (one.value.low, one.diverged, len(one.lost), len(one.rows)) == (None, 1, 1, 4)
    (most,) = group([*some, PairRow({}, seed=4, status="dead"), PairRow({}, seed=5, status="pruned")])
    assert most.value is None, "half of them were lost"
    (best,) = group(
        [PairRow({}, 0, 0.5), PairRow({}, 1, 0.9), PairRow({}, 2, status="failed")], {None: MetricScale("max")}
    )
    assert best.value is not None
    assert best.value.center == 0.5, "the worst accuracy is below all others"


def test_a_run_that_never_began_is_no_loss_and_a_retry_replaces_a_failure() -> None:
    (one,) = group([PairRow({}, 0, 1.0), PairRow({}, 1, status="failed", began=False)])
    assert one.lost == []
    failed, fine = PairRow({}, 0, status="failed"), PairRow({}, 0, 2.0)
    for some in ([failed, fine], [fine, failed]):
        (one,) = group(some)
        assert (one.counted, one.lost) == ([fine], [])


def test_intervals_are_cut_at_the_bounds_of_the_metric() -> None:
    values = [0.9, 0.99, 0.8]
    whole = interval(values)
    (one,) = group([PairRow({}, seed, v, {"loss": 0.1 * v}) for seed, v in enumerate(values)],
                   {None: MetricScale("max", 0.0, 1.0), "loss": MetricScale("min", 0.0)})  # fmt: skip
    assert whole is not None
    assert whole.high is not None
    assert whole.high > 1
    assert one.value is not None
    assert (one.value.low, one.value.high) == (whole.low, 1.0)
    (wrong,) = group([PairRow({}, seed, v - 1) for seed, v in enumerate(values)], {None: MetricScale("min", 0.0)})
    assert wrong.value is not None
    assert wrong.value.low is not None
    assert wrong.value.low < 0, "values beyond the bounds show that these are not the metric's"


@pytest.mark.parametrize(("mode", "first"), [("min", 0.1), ("max", 0.01)])
def test_rank_puts_the_best_first_and_the_unknown_last(mode: str, first: float) -> None:
    some = [*rows({1.0: [math.pi]}, status="failed"), *rows({0.1: [1.0], 0.01: [2.0]})]
    ranked = rank(group(some), mode)
    assert ranked[0].keys["optimizer.lr"] == first
    assert ranked[-1].keys["optimizer.lr"] == 1.0


def test_the_edge_of_a_target_is_found_in_evaluations_or_in_steps() -> None:
    metrics = {"epoch": [1.0, 2.0, 3.0], "step": [10.0, 20.0, 25.0], "epoch_seconds": [2.0, 3.0, 4.0],
               "val_loss": [0.5, math.nan, 0.1], "train_loss": [0.5, 0.4, 0.2]}  # fmt: skip
    sizes = {"rows": 95.0, "batch": 10.0}
    assert first_reached(metrics, {}, "val_loss", "min", 0.2, sizes) == Reached(25.0, 240.0, 9.0), "95 + 95 + 5 * 10"
    assert first_reached(metrics, {}, "val_loss", "max", 0.5, sizes) == Reached(10.0, 95.0, 2.0), "the last batch is 5"
    assert first_reached(metrics, {}, "val_loss", "min", 0.05, sizes) is None
    steps = {"step": [float(n) for n in range(1, 26)], "loss": [0.6] * 11 + [0.3] + [0.5] * 13}
    assert first_reached(metrics, steps, "train_loss", "min", 0.3, sizes) == Reached(12.0, 115.0, pytest.approx(2.6))
    assert first_reached(metrics, {}, "train_loss", "min", 0.3, sizes) == Reached(25.0, 240.0, 9.0)
    assert first_reached({"val_loss": [0.1]}, {}, "val_loss", "min", 0.2, {}) is None, "no step is known"


def test_the_median_time_counts_a_miss_as_infinite() -> None:
    def times(*steps: float | None) -> tuple[int, int, float | None]:
        found = sum_up([None if step is None else Reached(step, 2 * step, 3 * step) for step in steps])
        return found.count, found.n, found.median.steps if found.median else None

    assert times(5.0, 1.0, 3.0) == (3, 3, 3.0)
    assert times(5.0, 1.0, 3.0, None) == (3, 4, 3.0), "the second of four"
    assert times(5.0, None, 1.0, None) == (2, 4, 5.0)
    assert times(5.0, None, None) == (1, 3, None), "not reached by half"
    rows = [
        PairRow({}, 0, 1.0, reached=Reached(5, 5, 5)),
        PairRow({}, 1, status="failed"),
        PairRow({}, 2, status="running"),
    ]
    (one,) = group(rows)
    assert one.reached is not None
    assert (one.reached.count, one.reached.n) == (1, 2), "a lost run missed it, one that is running did not"


def test_one_seed_does_not_support_a_small_difference() -> None:
    assert "one seed: a difference this small is not supported" in said(rows({0.1: [1.0], 0.2: [1.05]}))
    assert "chance, cannot be said" in said(rows({0.1: [1.0], 0.2: [2.0]}))


def test_the_first_remark_names_the_best_and_those_that_it_cannot_be_told_apart_from() -> None:
    close = {0.1: [1.0, 1.2, 1.1], 0.2: [1.15, 1.25, 1.1], 0.3: [9.0, 9.1, 9.2]}
    first = said(rows(close)).splitlines()[0]
    start = "the best by val_loss is optimizer.lr=0.1"
    assert first == f"{start}; it cannot be told apart from optimizer.lr=0.2, and told apart from the other."
    two = rows({0.1: [1.0, 1.01, 1.02], 0.3: [9.0, 9.1, 9.3]})
    assert said(two).splitlines()[0] == f"{start}, told apart from the other."
    assert "overlap" not in said(rows(close))


def test_the_edge_of_the_grid() -> None:
    text = said(rows({0.1: [1.0], 0.01: [2.0], 0.001: [3.0]}))
    assert "best learning rate lies at the edge of the grid: 0.1 of 0.001 to 0.1; try larger ones" in text
    assert "edge" not in said(rows({0.1: [3.0], 0.01: [2.0], 0.001: [3.0]}))
    drawn = rank(group(rows({0.1: [1.0], 0.01: [2.0], 0.001: [3.0]})), "min")
    assert "edge" not in "\n".join(remarks(drawn, "val_loss", "min", label, grid=False, pairs=NO_PAIRS))


def test_a_diverged_rate_beyond_the_best_was_tried() -> None:
    some = rows({0.1: [1.0], 0.01: [2.0]}) + rows({1.0: [0.5]}, status="failed", diverged=True)
    text = said(some)
    assert "edge" not in text
    assert "1 of 3 diverged (optimizer.lr=1.0: 1 of 1); a lost run loses every pair" in text


def test_each_optimizer_has_its_own_edge() -> None:
    values = {("sgd", 0.1): 1.0, ("sgd", 0.01): 2.0, ("adam", 0.1): 3.0, ("adam", 0.01): 2.0, ("adam", 0.001): 3.0}
    some = [PairRow({"optimizer": name, "optimizer.lr": lr}, 0, value) for (name, lr), value in values.items()]
    text = said(some)
    assert "best learning rate of sgd lies at the edge" in text
    assert "of adam lies at the edge" not in text


def test_other_numbers_have_edges_from_three_values_on() -> None:
    def sizes(*values: int) -> str:
        return said([PairRow({"model.width": size}, 0, 1.0 / size) for size in values])

    assert "best model.width lies at the edge of the grid: 64 of 16 to 64; try larger ones" in sizes(16, 32, 64)
    assert "edge" not in sizes(16, 64)


@pytest.mark.parametrize(
    ("tried", "best", "edge"),
    [
        ((0.0, 0.2, 0.5), 0.0, False),  # nothing is below 0
        ((0, 0.2, 0.5), 0.5, True),
        ((1, 2, 4), 1, False),  # a count
        ((1.0, 2.0, 4.0), 1.0, True),
        ((0.2, 0.5, 1.0), 1.0, False),  # a share
    ],
)
def test_there_is_no_edge_where_nothing_lies_beyond(tried: tuple[float, ...], best: float, edge: bool) -> None:
    text = said([PairRow({"model.dropout": value}, 0, abs(value - best)) for value in tried])
    assert ("edge" in text) == edge


def test_failures_and_unfinished_runs_are_counted() -> None:
    states = ("failed", "dead", "waiting")
    some = [
        *rows({0.1: [1.0]}),
        *(PairRow({"optimizer.lr": 0.1}, seed=n, status=state) for n, state in enumerate(states, 7)),
    ]
    assert "2 of 4 failed, 1 of 4 not finished" in said(some)


def test_the_target_and_what_the_ranking_rests_on() -> None:
    assert "no run reached val_loss <= 0.1" in said(rows({0.1: [1.0]}), target=0.1)
    assert "val_accuracy >= 0.9000 was reached by 2 of 2 runs" in said(
        rows({0.1: [0.9, 0.95]}, reached=Reached(3.0, 9.0, 1.5)), "max", "val_accuracy", 0.9
    )
    assert "test part chose" in said(rows({0.1: [1.0]}), metric="test_loss")
    assert "training data" in said(rows({0.1: [1.0]}), metric="train_loss")
    assert said(rows({0.1: [1.0]})) == ""


def test_the_best_of_many_is_flattered() -> None:
    text = said(rows({0.1 * n: [1.0 + n] for n in range(1, 13)}))
    assert "best of 12 settings" in text
    assert "a little worse on new data" in text, "less would be better, of a loss"

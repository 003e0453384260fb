"""The arithmetic of comparisons, against scipy and values worked out by hand; and what the remarks say."""

from __future__ import annotations

import math

import pytest
from scipy import stats as scipy_stats

from dlrun.report.remarks import remarks
from dlrun.report.stats import PairRow, RunGroup, count_repeated, group, interval, rank, time_to_target


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
    return "\n".join(remarks(rank(group(some), mode), metric, mode, label, target))


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
    assert (single.n, single.mean, single.std, single.low) == (1, 5.0, None, None)
    assert interval([]) is None


def test_rows_that_differ_only_in_the_seed_are_one_group() -> None:
    groups = group(rows({0.1: [1.0, 2.0, 3.0], 0.01: [4.0, 6.0]}))
    assert [(one.keys["optimizer.lr"], one.value.n, one.value.mean) for one in groups if one.value] == [
        (0.1, 3, 2.0),
        (0.01, 2, 5.0),
    ]


def test_one_and_true_are_different_settings() -> None:
    assert len(group([PairRow({"a": 1}), PairRow({"a": True}), PairRow({"a": 1.0})])) == 2


def test_a_repeated_seed_counts_once_and_the_newest_counts() -> None:
    some = [PairRow({}, seed=0, value=1.0), PairRow({}, seed=0, value=2.0), PairRow({}, seed=1, value=4.0)]
    (one,) = group(some)
    assert one.value is not None
    assert (one.value.n, one.value.mean) == (2, 3.0)
    assert count_repeated(some) == 1


def test_unfinished_and_failed_runs_are_left_out_of_the_mean() -> None:
    some = [PairRow({}, seed=0, value=1.0), PairRow({}, seed=1, value=9.0, status="interrupted")]
    some.append(PairRow({}, seed=2, value=9.0, status="failed", diverged=True))
    (one,) = group(some)
    assert one.value is not None
    assert (one.value.mean, one.value.n, one.diverged, len(one.rows)) == (1.0, 1, 1, 3)


@pytest.mark.parametrize(("mode", "first"), [("min", 0.1), ("max", 0.01)])
def test_rank_puts_the_best_first_and_the_unknown_last(mode: str, first: float) -> None:
    some = [*rows({1.0: [math.pi]}, status="failed"), *rows({0.1: [1.0], 0.01: [2.0]})]
    ranked = rank(group(some), mode)
    assert ranked[0].keys["optimizer.lr"] == first
    assert ranked[-1].keys["optimizer.lr"] == 1.0


def test_time_to_target_adds_the_seconds_of_all_epochs_until_then() -> None:
    epochs, seconds, nan = [1.0, 2.0, 3.0], [2.0, 3.0, 4.0], math.nan
    assert time_to_target(epochs, seconds, [0.5, nan, 0.1], "min", 0.2) == (3.0, 9.0)
    assert time_to_target(epochs, seconds, [0.5, 0.9, 0.1], "max", 0.9) == (2.0, 5.0)
    assert time_to_target(epochs, seconds, [0.5, 0.4, 0.3], "min", 0.2) is None


def test_one_seed_does_not_support_a_small_difference() -> None:
    assert "one seed: a difference this small is not supported" in said(rows({0.1: [1.0], 0.2: [1.05]}))
    assert "chance, cannot be said" in said(rows({0.1: [1.0], 0.2: [2.0]}))


def test_overlapping_intervals_are_said_and_clear_ones_are_not() -> None:
    close = {0.1: [1.0, 1.2, 1.1], 0.2: [1.15, 1.25, 1.1], 0.3: [9.0, 9.1, 9.2]}
    text = said(rows(close))
    assert "overlap between the best, optimizer.lr=0.1, and optimizer.lr=0.2:" in text
    assert "overlap" not in said(rows({0.1: [1.0, 1.01, 1.02], 0.3: [9.0, 9.1, 9.2]}))


def test_the_edge_of_the_grid() -> None:
    text = said(rows({0.1: [1.0], 0.01: [2.0], 0.001: [3.0]}))
    assert "best learning rate lies at the edge of the grid: 0.1 of 0.001 to 0.1; try larger ones" in text
    assert "edge" not in said(rows({0.1: [3.0], 0.01: [2.0], 0.001: [3.0]}))
    drawn = rank(group(rows({0.1: [1.0], 0.01: [2.0], 0.001: [3.0]})), "min")
    assert "edge" not in "\n".join(remarks(drawn, "val_loss", "min", label, grid=False))


def test_a_diverged_rate_beyond_the_best_was_tried() -> None:
    some = rows({0.1: [1.0], 0.01: [2.0]}) + rows({1.0: [0.5]}, status="failed", diverged=True)
    text = said(some)
    assert "edge" not in text
    assert "1 of 3 diverged (optimizer.lr=1.0: 1 of 1); they are left out of the means" in text


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
    some = [*rows({0.1: [1.0]}), *(PairRow({"optimizer.lr": 0.1}, seed=9, status=state) for state in states)]
    assert "2 of 4 failed, 1 of 4 not finished" in said(some)


def test_the_target_and_what_the_ranking_rests_on() -> None:
    assert "no run reached val_loss <= 0.1" in said(rows({0.1: [1.0]}), target=0.1)
    assert "val_accuracy >= 0.9000 was reached by 2 of 2 runs" in said(
        rows({0.1: [0.9, 0.95]}, reached=(3.0, 1.5)), "max", "val_accuracy", 0.9
    )
    assert "test part chose" in said(rows({0.1: [1.0]}), metric="test_loss")
    assert "training data" in said(rows({0.1: [1.0]}), metric="train_loss")
    assert said(rows({0.1: [1.0]})) == ""


def test_the_best_of_many_is_flattered() -> None:
    text = said(rows({0.1 * n: [1.0 + n] for n in range(1, 13)}))
    assert "best of 12 settings" in text
    assert "a little worse on new data" in text, "less would be better, of a loss"

"""Comparisons with equal chances: trials are not ranked, final runs are by their test result, workloads by profiles."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from statistics import fmean

import pytest

from dlrun.report import panels
from dlrun.report.compare import compare, write_results
from dlrun.report.exports import comparison_json, latex_table
from dlrun.report.html import write_report
from dlrun.report.jobs import SweepEntry
from dlrun.report.profiles import Profile, profile_table, profiles, profiles_csv
from dlrun.report.tuning import FACTS, TUNING_FILE, best_after, read_tuning
from tests.helpers.runs_by_hand import make_config, make_run


def ranked_run(
    folder: Path, optimizer: str, workload: str, seed: int, val: float, test: float, rate: float = 0.1
) -> SweepEntry:
    """A final run whose validation and test results differ."""
    name = f"{workload}-{optimizer}-seed{seed}"
    config = make_config(seed=seed)
    config["optimizer"] |= {"name": optimizer, "lr": rate}
    config["sweep"] = {"budget": 2, "target": 0.75, "workload": workload}
    path = make_run(folder / "jobs" / name, config, epochs=6, floor=val)
    summary = json.loads((path / "summary.json").read_text())
    summary["test"] = {"loss": test, "accuracy": 1 - test}
    (path / "summary.json").write_text(json.dumps(summary))
    keys = {"sweep.workload": workload, "optimizer": optimizer, "optimizer.lr": rate, "seed": seed}
    return SweepEntry(path, keys, "finished", final=True, tuned=("optimizer.lr",))


def write_tuning(folder: Path, lines: list[dict[str, object]]) -> None:
    with open(folder / TUNING_FILE, "w", newline="") as file:
        writer = csv.DictWriter(file, ["optimizer", "optimizer.lr", *FACTS], restval="")
        writer.writeheader()
        writer.writerows(lines)


def trial(path: str, lr: float, value: float | str) -> dict[str, object]:
    return {
        "optimizer": "sgd", "optimizer.lr": lr, "stage": "tune", "tuned": "optimizer.lr", "metric": "val_loss",
        "better": "min", "value": value, "path": path,
    }  # fmt: skip


def test_final_runs_are_ranked_by_the_test_result_and_trials_not_at_all(tmp_path: Path) -> None:
    rows = [
        ranked_run(tmp_path, optimizer, "one", seed, val, test + seed / 100)
        for optimizer, val, test in (("sgd", 0.1, 0.5), ("adam", 0.3, 0.2))
        for seed in (1, 2, 3)
    ]
    make_run(tmp_path / "jobs" / "tried", make_config(seed=0), floor=0.01)
    write_tuning(tmp_path, [trial("jobs/tried", 0.3, 0.01)])
    found = write_results(tmp_path, rows)
    assert found.metric == "test_loss"
    assert [group.keys["optimizer"] for group in found.groups] == ["adam", "sgd"], "validation would say sgd"
    value = found.groups[0].value
    assert value is not None
    assert value.center == pytest.approx(0.22)
    assert any("ranked by test_loss of the epoch that val_loss chose" in remark for remark in found.remarks)
    assert not any("flatters" in remark for remark in found.remarks)
    again = compare([tmp_path])
    assert again.metric == "test_loss"
    assert len(again.jobs) == 6, "the trial is no run to rank"
    assert [group.keys["optimizer"] for group in again.groups] == ["adam", "sgd"]


def test_rates_that_were_tuned_apart_are_no_panel(tmp_path: Path) -> None:
    rates = {"sgd": 0.1, "adam": 0.01}
    rows = [ranked_run(tmp_path, name, "one", seed, 0.1, 0.2, rates[name]) for name in rates for seed in (1, 2)]
    assert panels.draw_lr not in panels.choose_panels(write_results(tmp_path, rows))
    tried = [*rows, ranked_run(tmp_path, "sgd", "one", 3, 0.1, 0.2, 0.5)]
    assert panels.draw_lr in panels.choose_panels(write_results(tmp_path, tried))


def two_workloads(tmp_path: Path) -> list[SweepEntry]:
    """On `easy` both reach the target, on `hard` sgd does not."""
    floors = {("easy", "sgd"): 0.1, ("easy", "adam"): 0.01, ("hard", "sgd"): 0.9, ("hard", "adam"): 0.1}
    return [
        ranked_run(tmp_path, optimizer, workload, seed, floor, floor)
        for (workload, optimizer), floor in floors.items()
        for seed in (1, 2, 3)
    ]


@pytest.mark.figures
def test_several_workloads_are_compared_each_by_itself_and_by_profiles(tmp_path: Path) -> None:
    found = write_results(tmp_path, two_workloads(tmp_path))
    assert [name for name, _ in found.workloads] == ["easy", "hard"]
    assert not found.comparable
    assert not (tmp_path / "comparison.png").exists(), "runs that do not compare have no figure"
    best, other = profiles(found.workloads)
    assert best.option == "adam"
    assert best.ratios == {"easy": 1.0, "hard": 1.0}
    assert math.isinf(other.ratios["hard"])
    assert other.geometric_mean is None
    assert other.score == pytest.approx(max(0.0, 4 - other.ratios["easy"]) / 3 / 2)
    assert (tmp_path / "profiles.png").is_file()
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["sweep.workload"] for row in rows} == {"easy", "hard"}
    assert len(rows) == 12
    values = comparison_json(found)
    assert [one["option"] for one in values["profiles"]] == ["adam", "sgd"]
    assert set(values["workloads"]) == {"easy", "hard"}
    json.dumps(values, allow_nan=False)
    assert latex_table(found).count(r"\begin{tabular}") == 2
    page = write_report(tmp_path, found).read_text()
    assert "Over all workloads" in page
    assert "easy, by test_loss" in page


def test_profiles_equal_a_calculation_by_hand() -> None:
    one = Profile("a", {"x": 10, "y": 30, "z": math.inf}, {"x": 1.0, "y": 3.0, "z": math.inf}, {"x": 1, "y": 1})
    assert [one.at(tau) for tau in (1, 2.9, 3, 4)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    area = ((3 - 1) * 1 / 3 + (4 - 3) * 2 / 3) / 3
    assert one.score == pytest.approx(area)
    whole = Profile("b", {"x": 20, "y": 10}, {"x": 2.0, "y": 8.0}, {"x": 1, "y": 1})
    assert whole.geometric_mean == pytest.approx(4.0)
    assert whole.score == pytest.approx(((4 - 2) / 3) / 2)
    assert [row[0] for row in profile_table([one]).rows] == ["a"]
    assert len(profiles_csv([one]).splitlines()) == 4
    assert profiles([]) == []


@pytest.mark.parametrize("better", ["min", "max"])
def test_the_expected_best_of_k_trials_is_the_mean_over_all_orders(better: str) -> None:
    values, best = [0.3, 0.1, 0.7, 0.4], min if better == "min" else max
    brute = [fmean(best(order[:k]) for order in itertools.permutations(values)) for k in range(1, 5)]
    assert best_after(values, better) == pytest.approx(brute)
    lost = math.inf if better == "min" else -math.inf
    worst = max(values) if better == "min" else min(values)
    assert best_after([*values, lost], better) == pytest.approx(best_after([*values, worst], better))
    assert best_after([lost], better) == []


def test_a_damaged_tuning_file_costs_its_rows_alone(tmp_path: Path) -> None:
    assert read_tuning(tmp_path) == []
    write_tuning(tmp_path, [trial("jobs/a", 0.1, 0.5), trial("jobs/b", 0.2, "x"), trial("", 0.2, 1.0)])
    first, second = read_tuning(tmp_path)
    assert (first.value, first.option) == (0.5, (("optimizer", "sgd"),))
    assert math.isinf(second.value)
    for text in (b"\x00\xff", b"a,b\n1,2\n", b'"open'):
        (tmp_path / TUNING_FILE).write_bytes(text)
        assert read_tuning(tmp_path) == []

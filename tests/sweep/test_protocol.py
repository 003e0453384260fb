"""Equal chances: a budget of trials for every option, then new seeds of the best setting, which alone are ranked."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from dlrun.components.registry import DATASETS
from dlrun.config.overrides.values import Distribution
from dlrun.errors import ConfigError
from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.samplers.halton import at, digit_order, halton, point, share_of_range
from tests.helpers.sweep_fakes import FakeSweep

WORDS = ["optimizer=sgd,adam", "device=cpu", "sweep.budget=4", "sweep.repeat=3"]
BEST = {"sgd": 0.3, "adam": 0.002}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    monkeypatch.chdir(tmp_path)
    found = FakeSweep(monkeypatch)
    found.loss = loss
    return found


def loss(config: dict[str, Any]) -> float:
    """Least at the learning rate in BEST."""
    best = BEST[config["optimizer"]["name"]]
    return 0.1 + abs(math.log10(config["optimizer"]["lr"] / best)) + 0.001 * int(config["seed"])


def jobs_of(sweep: FakeSweep, stage: str) -> list[FrozenJob]:
    return [job for job in sweep.folder.jobs.values() if job.stage == stage]


def rates(jobs: list[FrozenJob], name: str) -> list[float]:
    return [job.swept["optimizer.lr"] for job in jobs if job.swept["optimizer"] == name]


def table(sweep: FakeSweep) -> list[dict[str, str]]:
    with open(sweep.folder.path / "tuning.csv") as file:
        return list(csv.DictReader(file))


def test_every_option_gets_as_many_trials_and_the_best_runs_with_new_seeds(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(WORDS, quiet=False) == 0
    trials, finals = jobs_of(sweep, "tune"), jobs_of(sweep, "final")
    assert len(trials) == 8
    assert len(finals) == 6
    assert {job.config.seed for job in trials} == {0}
    assert [job.config.seed for job in finals] == [1, 2, 3, 1, 2, 3]
    assert {job.config.dataset.split_seed for job in (*trials, *finals)} == {0}, "one test part for all"
    shares = {
        name: [share_of_range(Distribution(low, high, log=True), value) for value in rates(trials, name)]
        for name, low, high in (("sgd", 1e-3, 10), ("adam", 1e-5, 0.1))
    }
    assert shares["sgd"] == pytest.approx(shares["adam"], abs=1e-4), "the same points, each in its own range"
    for name in BEST:
        best = min(rates(trials, name), key=lambda lr: abs(math.log10(lr / BEST[name])))
        assert rates(finals, name) == [best] * 3
    told = capsys.readouterr().out
    assert "Tuned by 4 trials each" in told
    assert "0.001 to 10, log" in told
    rows = table(sweep)
    assert [row["chosen"] for row in rows].count("yes") == 2
    assert {row["stage"] for row in rows} == {"tune"}
    ranked = (sweep.folder.path / "results.csv").read_text()
    assert ranked.count("finished") == 6, "trials are not ranked"


def test_the_command_again_runs_nothing_and_a_larger_budget_keeps_the_first_points(sweep: FakeSweep) -> None:
    sweep(WORDS)
    before = rates(jobs_of(sweep, "tune"), "sgd")
    done = len(sweep.executors)
    assert sweep(WORDS) == 0
    assert len(sweep.executors) == done, "nothing was to be run"
    assert sweep([*WORDS[:2], "sweep.budget=9", "sweep.repeat=3"]) == 0
    assert rates(jobs_of(sweep, "tune"), "sgd")[: len(before)] == before
    assert len(rates(jobs_of(sweep, "tune"), "sgd")) == 9
    former = [row for row in table(sweep) if row["stage"] == "former"]
    finals = jobs_of(sweep, "final")
    chosen = {row["path"] for row in table(sweep) if row["chosen"]}
    assert len(chosen) == 2
    assert len(finals) == 6 + len(former)


def test_a_sweep_whose_trials_failed_goes_on_to_the_choice_of_one_that_ran_through(sweep: FakeSweep) -> None:
    count = 0

    def stumbling(config: dict[str, Any]) -> float:
        nonlocal count
        count += 1
        if count in (2, 5):
            raise ValueError("no memory")
        return loss(config)

    sweep.loss = stumbling
    assert sweep(WORDS) == 3
    sweep.loss = loss
    assert sweep(WORDS) == 0
    chosen = {row["optimizer"]: float(row["optimizer.lr"]) for row in table(sweep) if row["chosen"]}
    trials = jobs_of(sweep, "tune")
    assert chosen == {name: min(rates(trials, name), key=lambda lr: abs(math.log10(lr / BEST[name]))) for name in BEST}
    for name, lr in chosen.items():
        assert rates(jobs_of(sweep, "final"), name).count(lr) == 3


def test_trials_may_be_proposed_by_tpe(sweep: FakeSweep) -> None:
    words = [*WORDS, "sweep.search=tpe"]
    assert sweep(words) == 0
    assert [len(rates(jobs_of(sweep, "tune"), name)) for name in BEST] == [4, 4]
    assert len(jobs_of(sweep, "final")) == 6
    done = len(sweep.executors)
    assert sweep(words) == 0
    assert len(sweep.executors) == done
    before = rates(jobs_of(sweep, "tune"), "adam")
    assert sweep([*WORDS[:2], "sweep.budget=14", "sweep.repeat=3", "sweep.search=tpe"]) == 0
    after = rates(jobs_of(sweep, "tune"), "adam")
    assert after[:4] == before
    assert len(set(after)) == 14


def test_a_data_set_of_the_users_that_cuts_a_test_part_by_the_seed_is_said(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(
        "import dlrun\n\n@dlrun.register.dataset('mine')\ndef mine(*, seed: int):\n    raise NotImplementedError\n"
    )
    sweep(["dataset=mine", *WORDS, "model=mlp"], quiet=False, flags=["--plugin", "mine.py"])
    assert "note: mine has no dataset.split_seed" in " ".join(capsys.readouterr().out.split())
    monkeypatch.delitem(DATASETS.plugins, "mine")
    sweep([*WORDS, "sweep.name=ours"], quiet=False)
    assert "has no dataset.split_seed" not in capsys.readouterr().out


def test_test_results_do_not_choose(sweep: FakeSweep) -> None:
    sweep(WORDS)
    chosen = [row["optimizer.lr"] for row in table(sweep) if row["chosen"]]
    for path in sweep.folder.path.glob("jobs/*/summary.json"):
        path.write_text(path.read_text().replace('"test"', '"tset"'))
    assert sweep(WORDS) == 0
    assert [row["optimizer.lr"] for row in table(sweep) if row["chosen"]] == chosen


def test_ranges_of_the_command_and_keys_that_are_told_are_tuned(sweep: FakeSweep) -> None:
    sweep([*WORDS, "optimizer.lr=interval(0.01,0.02)"])
    assert all(0.01 <= job.swept["optimizer.lr"] <= 0.02 for job in jobs_of(sweep, "tune"))


def test_keys_of_other_groups_are_tuned_where_they_are_named(sweep: FakeSweep) -> None:
    assert sweep(["model=mlp,linear", *WORDS[1:], "sweep.tune=[optimizer.lr]", "optimizer=sgd"]) == 0
    assert [job.swept["model"] for job in jobs_of(sweep, "final")] == ["mlp"] * 3 + ["linear"] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer=sgd,adam", "seed=0,1"], "seed: is not swept beside sweep.budget"),
        (["optimizer=sgd,adam", "sweep.search=cmaes"], "sweep.search: cmaes does not go with sweep.budget"),
        (["optimizer=sgd,adam", "sweep.pruner=median"], "sweep.pruner"),
        (["model=mlp,linear"], "there is nothing to tune of mlp, linear"),
        (["optimizer=sgd,adam", "sweep.tune=[optimizer.lrr]"], "optimizer=sgd has no key optimizer.lrr."),
        (["optimizer=sgd,adam", "sweep.tune=[model.dropout]"], "no range is stated for it"),
        (["optimizer=sgd"], "compares options, and nothing is swept"),
    ],
)
def test_what_cannot_be_tuned_is_refused_by_name(words: list[str], said: str, sweep: FakeSweep) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep([*words, "sweep.budget=3"])
    assert said in str(caught.value)
    assert not list(Path().glob("outputs/sweeps/*/jobs/*"))


def test_halton_points_fill_every_dimension_evenly() -> None:
    for dimension, base in enumerate((2, 3, 5, 7)):
        points = [halton(number, dimension) for number in range(base**3)]
        assert len({int(value * base**3) for value in points}) == base**3, "one in each of base^3 cells"
        assert all(0 < value < 1 for value in points)
        assert sorted(digit_order(base, 0)) == list(range(base))
    assert [halton(n, 0) for n in range(3)] == pytest.approx([halton(n, 0) for n in range(3)])
    space = {"a": Distribution(1e-4, 1.0, log=True), "b": Distribution(1, 8, integer=True), "c": ["x", "y"]}
    values = [point(space, number) for number in range(64)]  # type: ignore[arg-type]
    assert {value["b"] for value in values} == set(range(1, 9))
    assert {value["c"] for value in values} == {"x", "y"}
    assert sum(value["a"] < 1e-2 for value in values) == pytest.approx(32, abs=2)
    assert at(Distribution(0, 1, step=0.25), 0.999) == 1

"""Searches: random by ourselves, the rest by Optuna; resumed, pruned, with failures."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest

from dlrun.config.overrides.grammar import Distribution
from dlrun.errors import ConfigError, RunError
from dlrun.store.files import write_json
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.samplers.base import RandomSampler, drawn, rounded
from dlrun.sweep.samplers.optuna import OptunaSampler
from dlrun.sweep.samplers.results import signed
from dlrun.sweep.samplers.search import Pruned
from dlrun.sweep.samplers.study import open_storage
from dlrun.sweep.state import Record
from dlrun.sweep.task import Task, asking, next_question
from tests.helpers.cases import slow_where
from tests.helpers.sweep_fakes import FakeSweep, states

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
RANDOM = [
    LR,
    "model.dropout=interval(0,0.5)",
    "optimizer=sgd,adam",
    "device=cpu",
    "sweep.search=random",
    "sweep.trials=6",
]
TPE = [LR, "optimizer=sgd,adam", "device=cpu", "sweep.search=tpe", "sweep.trials=14"]

pytestmark = pytest.mark.usefixtures("quick_studies")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    monkeypatch.chdir(tmp_path)
    return FakeSweep(monkeypatch)


def lr_loss(config: dict[str, Any]) -> float:
    """Best at 0.01 with sgd, failing above 0.05."""
    lr = config["optimizer"]["lr"]
    if lr > 0.05:
        raise ValueError("diverged")
    return 0.1 + abs(math.log10(lr) + 2) + (config["optimizer"]["name"] == "adam")


def learning_rates(sweep: FakeSweep) -> list[float]:
    return [job.swept["optimizer.lr"] for job in sweep.folder.jobs.values()]


# --- random -----------------------------------------------------------------------------------------------------------


def test_random_draws_stay_in_range_on_the_right_scale() -> None:
    draw = Random(0)
    log = [drawn(Distribution(1e-4, 1e-1, log=True), draw) for _ in range(600)]
    assert all(1e-4 <= value <= 1e-1 for value in log)
    assert 0.2 < sum(value < 1e-3 for value in log) / 600 < 0.47  # a third of the decades
    whole = {drawn(Distribution(1, 4, integer=True), draw) for _ in range(200)}
    assert whole == {1, 2, 3, 4}
    powers = [drawn(Distribution(1, 1000, log=True, integer=True), draw) for _ in range(300)]
    assert all(isinstance(value, int) and 1 <= value <= 1000 for value in powers)
    assert {drawn(["a", None, 3], draw) for _ in range(50)} == {"a", None, 3}
    assert rounded(0.12345678, Distribution(0.0, 1.0)) == 0.123457
    assert rounded(0.99999999, Distribution(0.0, 0.9999999)) == 0.9999999


def test_a_trial_is_decided_by_seed_and_number_alone() -> None:
    space: dict[str, Any] = {"a": Distribution(0.0, 1.0), "b": [1, 2, 3]}
    assert RandomSampler([space], 0).ask(5) == RandomSampler([space], 0).ask(5)
    assert RandomSampler([space], 0).ask(5) != RandomSampler([space], 1).ask(5)


def test_a_random_search_needs_no_optuna(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert sweep(RANDOM) == 0
    jobs = sweep.folder.jobs
    assert len(jobs) == 6
    assert [job.trial for job in jobs.values()] == list(range(6))
    assert all(0 <= job.swept["model.dropout"] <= 0.5 for job in jobs.values())
    assert all(job.config.optimizer.lr == job.swept["optimizer.lr"] for job in jobs.values())
    assert sweep(RANDOM) == 0
    assert len(sweep.executors) == 1
    assert sweep([*RANDOM[:-1], "sweep.trials=8"]) == 0
    assert len(sweep.ran) == 2
    with pytest.raises(ConfigError, match=r"needs Optuna.*dlrun\[optuna\]"):
        sweep(TPE)


def test_a_search_ends_when_every_combination_was_tried(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["seed=0,1", "optimizer=sgd,adam", "sweep.search=random", "device=cpu"]
    assert sweep([*words, "sweep.trials=9"], quiet=False) == 0
    assert len(sweep.folder.jobs) == 4
    printed = capsys.readouterr().out
    assert "4 jobs, 4 to run (every combination there is)" in printed
    assert "[4/4] finished" in printed
    assert sweep([*words, "sweep.trials=2"], quiet=False) == 0
    assert "4 jobs, 0 to run" in capsys.readouterr().out


def test_a_search_spends_no_trial_on_an_impossible_value(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer.batch_size=64,0", "optimizer.lr=interval(0.1,1)", "sweep.search=random", "device=cpu"]
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=0"):
        sweep([*words, "sweep.trials=4"])
    assert sweep([*words, "sweep.trials=4", "sweep.skip_invalid=true"]) == 0
    assert [job.swept["trainer.batch_size"] for job in sweep.folder.jobs.values()] == [64] * 4
    assert "left out of the search, being impossible: trainer.batch_size=0" in capsys.readouterr().err


def test_a_search_that_finds_nothing_new_says_so(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrun.sweep.samplers.base.drawn", lambda choices, draw: choices.low)
    assert sweep(["optimizer.lr=interval(0.1,0.2)", "sweep.search=random", "device=cpu"], quiet=False) == 0
    assert "the search ends after 1 jobs: all further values were tried before" in capsys.readouterr().out


@pytest.mark.parametrize("search", ["random", pytest.param("tpe", marks=pytest.mark.slow)])
def test_stale_trials_are_named_and_run_again_if_asked(
    search: str, sweep: FakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [LR, "device=cpu", f"sweep.search={search}", "sweep.trials=3"]
    sweep(words)
    before = learning_rates(sweep)
    monkeypatch.setattr("dlrun.sweep.freeze.code_hash", lambda: "other")
    assert sweep(words, quiet=False) == 0
    assert "stale: 3 jobs (changed since: code 3)" in capsys.readouterr().out
    assert len(sweep.executors) == 1
    assert sweep([*words, "sweep.refresh=true"]) == 0
    assert len(sweep.ran) == 3
    assert learning_rates(sweep) == before


def test_a_search_needs_something_to_search(sweep: FakeSweep) -> None:
    with pytest.raises(ConfigError, match="no key is swept"):
        sweep(["device=cpu", "sweep.search=random"])


# --- Optuna -----------------------------------------------------------------------------------------------------------


def test_tpe_finds_the_valley_and_survives_failures(sweep: FakeSweep) -> None:
    sweep.loss = lr_loss
    code = sweep(TPE)
    records = states(sweep.folder)
    failed = [slug for slug, record in records.items() if record.state == "failed"]
    assert code == (3 if failed else 0)
    good = [job for job in sweep.folder.jobs.values() if job.slug not in failed]
    best = min(good, key=lambda job: lr_loss(job.values))
    assert abs(math.log10(best.swept["optimizer.lr"]) + 2) < 0.7
    study = load(sweep)
    words = [trial.state.name for trial in study.trials]
    assert words.count("COMPLETE") == len(good)
    assert words.count("FAIL") == len(failed)


def load(sweep: FakeSweep) -> Any:
    import optuna

    storage = open_storage(optuna, sweep.folder.state.absolute() / "optuna.db")
    return optuna.load_study(study_name="sweep", storage=storage)


def test_a_search_goes_on_where_it_stopped(sweep: FakeSweep) -> None:
    """As if killed: a job that had begun is finished first, and the study learns of what it missed."""
    sweep.loss = lr_loss
    sweep([*TPE[:-1], "sweep.trials=4"])
    before = learning_rates(sweep)
    folder = sweep.folder
    slug = list(folder.jobs)[-1]
    for path in (folder.path / "jobs" / slug, folder.state / f"{slug}.json"):
        __import__("shutil").rmtree(path) if path.is_dir() else path.unlink()
    sweep([*TPE[:-1], "sweep.trials=6"])
    assert sweep.ran[0] == slug
    assert len(sweep.ran) == 3
    assert learning_rates(sweep)[:4] == before
    assert len(load(sweep).trials) == 7  # the lost one had been told: what it gives now is a trial more


def test_trials_whose_job_was_never_frozen_are_told_as_failed(sweep: FakeSweep) -> None:
    sweep([*TPE[:-1], "sweep.trials=2"])
    load(sweep).ask()
    sweep([*TPE[:-1], "sweep.trials=3"])
    assert [trial.state.name for trial in load(sweep).trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]


DAMAGES = slow_where(lambda damage: damage != "cut", ["cut", "gone", "no state", "empty", "text"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_study_that_was_lost_is_put_back_from_the_runs(
    damage: str, sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.loss = lr_loss
    words = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", *TPE[1:-1]]
    sweep([*words, "sweep.trials=4"])
    before, values = learning_rates(sweep), sorted(trial.value for trial in load(sweep).trials)
    file = sweep.folder.state / "optuna.db"
    if damage == "no state":
        __import__("shutil").rmtree(sweep.folder.state)
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": file.read_bytes()[:5000], "text": b"no database\n" * 500}[damage])
    assert sweep([*words, "sweep.trials=6"]) == 0
    told = capsys.readouterr().err
    assert "had lost 4 trials: put back from sweep.yaml and the runs" in told
    assert ("is damaged: it is kept as optuna.db.damaged" in told) == (damage in ("cut", "text"))
    assert learning_rates(sweep)[:4] == before
    trials = load(sweep).trials
    assert sorted(trial.value for trial in trials[:4]) == values
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert sweep([*words, "sweep.trials=6"]) == 0
    assert "lost" not in capsys.readouterr().err


def test_a_lost_study_is_put_back_with_its_gaps_and_failures(sweep: FakeSweep) -> None:
    """Trials that have no job any more leave gaps: the others get new numbers, and keep their values."""
    sweep.loss = _refuse
    sweep([*TPE[:-1], "sweep.trials=2"])
    load(sweep).ask()
    sweep.loss = lambda config: 0.5
    sweep([*TPE[:-1], "sweep.trials=4", "sweep.retry_failed=false"])
    assert [job.trial for job in sweep.folder.jobs.values()] == [0, 1, 3, 4]
    (sweep.folder.state / "optuna.db").unlink()
    sweep([*TPE[:-1], "sweep.trials=4", "sweep.retry_failed=false"])
    assert [trial.state.name for trial in load(sweep).trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    jobs = sweep.folder.jobs.values()
    assert [job.trial for job in jobs] == [0, 1, 2, 3]
    assert [trial.params["optimizer"] for trial in load(sweep).trials] == [job.swept["optimizer"] for job in jobs]


def test_a_pruned_grid_survives_the_loss_of_its_study(sweep: FakeSweep) -> None:
    words = ["seed=range(3)", "device=cpu", "sweep.pruner=median"]
    sweep.loss = lambda config: _fail_once(config["seed"] == 2)
    assert sweep(words) == 3
    (sweep.folder.state / "optuna.db").unlink()
    sweep.loss = lambda config: 0.1
    assert sweep(words) == 0
    trials = load(sweep).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert trials[0].intermediate_values


def test_a_failed_trial_that_works_at_last_is_known_to_the_study(sweep: FakeSweep) -> None:
    sweep.loss = _refuse
    assert sweep([*TPE[:-1], "sweep.trials=2"]) == 3
    sweep.loss = lambda config: 0.5
    assert sweep([*TPE[:-1], "sweep.trials=2"]) == 0
    for _ in range(2):
        sweep([*TPE[:-1], "sweep.trials=2"])
        done = [trial for trial in load(sweep).trials if trial.state.name == "COMPLETE"]
        assert len(done) == 2


def _refuse(config: dict[str, Any]) -> float:
    raise ValueError("no luck")


def test_another_space_needs_another_name(sweep: FakeSweep) -> None:
    sweep([*RANDOM, "sweep.name=s"])
    with pytest.raises(RunError, match=r"another search.*sweep\.name"):
        sweep(["optimizer=sgd,rmsprop", "device=cpu", "sweep.search=random", "sweep.name=s"])


@pytest.mark.parametrize("search", slow_where(lambda name: name == "random", ["gp", "random", "cmaes"]))
def test_other_samplers_and_pruners_work(search: str, sweep: FakeSweep) -> None:
    words = [
        LR,
        "model.dropout=interval(0,0.5)",
        "device=cpu",
        f"sweep.search={search}",
        "sweep.trials=3",
        "sweep.pruner=hyperband",
    ]
    assert sweep(words) == 0
    assert len(set(learning_rates(sweep))) == 3


def test_cmaes_says_what_it_needs(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cmaes", None)
    with pytest.raises(ConfigError, match="needs the package cmaes"):
        sweep([LR, "device=cpu", "sweep.search=cmaes"])


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_the_median_rule_ends_a_grid_job_that_lags_behind(sweep: FakeSweep) -> None:
    sweep(["seed=range(7)", "device=cpu"])
    folder = sweep.folder
    source = Pruned(folder, folder.jobs.values(), OptunaSampler("grid", "median", [{}], 0, folder))
    for _ in range(6):
        job = source.next()
        assert job is not None
        assert job.trial is not None
        assert not any(source.epoch(job, {"epoch": e, "val_loss": 1.0 / e}) for e in (1, 2, 3))
        source.ended(job, Record(state="finished"))
    job = source.next()
    assert isinstance(job, FrozenJob)
    answers = [source.epoch(job, {"epoch": e, "val_loss": 5.0}) for e in (1, 2, 3)]
    assert answers[0] is False  # the first epoch says little
    assert answers[-1] is True
    assert source.epoch(job, {"epoch": 4, "train_loss": 1.0}) is False  # not evaluated: nothing to go by
    assert source.next() is None


@pytest.mark.parametrize(
    "words", slow_where(lambda words: LR in words, [["seed=range(3)"], [LR, "sweep.search=tpe", "sweep.trials=3"]])
)
def test_a_pruned_sweep_can_be_repeated_and_refreshed(
    words: list[str], sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is run again has a trial again: Optuna adds nothing to one that has ended."""
    words = [*words, "device=cpu", "sweep.pruner=median"]
    sweep.reporting = True
    sweep.loss = lambda config: _fail_once(len(sweep.executors[-1].tasks) == 2)
    assert sweep(words) == 3
    sweep.loss = lambda config: 0.1
    assert sweep(words) == 0
    assert len(sweep.ran) == 1
    monkeypatch.setattr("dlrun.sweep.freeze.code_hash", lambda: "other")
    assert sweep([*words, "sweep.refresh=true"]) == 0
    assert len(sweep.ran) == 3
    good = [trial for trial in load(sweep).trials if trial.state.name == "COMPLETE"]
    assert {job.trial for job in sweep.folder.jobs.values()} < {trial.number for trial in good}
    assert all(trial.intermediate_values for trial in good)


def _fail_once(yes: bool) -> float:
    if yes:
        raise ValueError("no luck")
    return 0.1


def test_what_a_killed_sweep_was_told_is_not_told_again(sweep: FakeSweep, recwarn: pytest.WarningsRecorder) -> None:
    sweep(["seed=0,1", "device=cpu"])
    folder = sweep.folder
    first = OptunaSampler("grid", "median", [{}], 0, folder)
    trial, _ = first.ask(0)
    first.epoch(trial, 1, 0.5)
    folder.jobs["seed0"] = replace(folder.jobs["seed0"], trial=trial)
    second = OptunaSampler("grid", "median", [{}], 0, folder)
    assert second.again(trial) == trial
    for epoch in (1, 2, 2):
        second.epoch(trial, epoch, 0.4)
    second.tell(trial, "finished", 0.4)
    assert load(sweep).trials[trial].intermediate_values == {1: 0.5, 2: 0.4}
    assert not [w for w in recwarn if "already reported" in str(w.message)]


def test_no_connection_to_the_study_stays_open(sweep: FakeSweep) -> None:
    """Python 3.13 warns of each that is left to the garbage collector."""
    assert sweep([LR, "device=cpu", "sweep.search=tpe", "sweep.trials=3", "sweep.pruner=median"]) == 0
    study = load(sweep)
    assert study.trials
    assert not [name for name in open_files() if "optuna.db" in name]


def open_files() -> list[str]:
    """What this process has open."""
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def test_of_many_little_epochs_only_some_are_asked_about(tmp_path: Path) -> None:
    """An answer takes a few hundredths of a second: four hundred of them would be most of a little job's time."""
    run, asked = RunDir(tmp_path / "run"), []
    run.path.mkdir()
    write_json(run.environment, {"auto": {"checkpoint.monitor": "val_loss"}})
    write_json(tmp_path / "a.answer.json", {"epoch": 1000, "prune": False})
    on_epoch = asking(Task(slug="a", path=str(run.path), state=str(tmp_path), config={}))
    for epoch in range(1, 401):
        row = {"epoch": epoch, "train_loss": 1.0} | ({} if epoch % 2 else {"val_loss": 1.0})
        assert on_epoch(row) is False
        if read_json(tmp_path / "a.epoch.json").get("epoch") == epoch:
            asked.append(epoch)
    assert asked[:12] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert len(asked) < 60
    assert [next_question(epoch) for epoch in (1, 15, 16, 17, 31, 32, 400)] == [2, 16, 18, 18, 32, 36, 416]
    write_json(tmp_path / "a.answer.json", {"epoch": 1000, "prune": True})
    assert on_epoch({"epoch": 500, "val_loss": 1.0}) is True


def test_less_is_better_whatever_the_metric() -> None:
    assert signed(0.9, "max") < signed(0.8, "max")
    assert signed(0.1, "min") < signed(0.2, "min")


GRIDS = (
    "sweep.params=[{optimizer: sgd, optimizer.lr: 'interval(0.1,1)'},"
    "{optimizer: adam, optimizer.lr: 'tag(log,interval(1e-4,1e-2))', optimizer.amsgrad: [true,false]}]"
)


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_search_over_grids_draws_each_value_from_its_own(search: str, sweep: FakeSweep) -> None:
    sweep.loss = lambda config: config["optimizer"]["lr"]
    words = [GRIDS, "device=cpu", f"sweep.search={search}"]
    assert sweep([*words, "sweep.trials=4"]) == 0
    assert sweep([*words, "sweep.trials=8"]) == 0
    drawn = [job.swept for job in sweep.folder.jobs.values()]
    assert len(drawn) == 8
    assert {one["optimizer"] for one in drawn} == {"sgd", "adam"}
    for one in drawn:
        low, high = (0.1, 1) if one["optimizer"] == "sgd" else (1e-4, 1e-2)
        assert low <= one["optimizer.lr"] <= high
        assert ("optimizer.amsgrad" in one) == (one["optimizer"] == "adam")
    if search == "tpe":
        (sweep.folder.state / "optuna.db").unlink()
        assert sweep([*words, "sweep.trials=9"]) == 0, "the study is put back"
        assert [trial.state.name for trial in load(sweep).trials] == ["COMPLETE"] * 9
    else:
        with pytest.raises(ConfigError, match="needs one space"):
            sweep([GRIDS, "device=cpu", "sweep.search=cmaes", "sweep.trials=2"])


def rates_by_seed(sweep: FakeSweep) -> dict[float, list[int]]:
    found: dict[float, list[int]] = {}
    for job in sweep.folder.jobs.values():
        found.setdefault(job.swept["optimizer.lr"], []).append(job.swept["seed"])
    return found


def best_losses(sweep: FakeSweep, lr: float) -> list[float]:
    jobs = [job for job in sweep.folder.jobs.values() if job.swept["optimizer.lr"] == lr]
    return [StoredRun(sweep.folder.run(job.slug).path).best()["val_loss"] for job in jobs]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_seeds_beside_a_search_repeat_each_trial_and_are_told_as_their_mean(search: str, sweep: FakeSweep) -> None:
    sweep.loss = lambda config: abs(math.log10(config["optimizer"]["lr"]) + 2) + 0.1 * config["seed"]
    words = [LR, "seed=0,1,2", "device=cpu", f"sweep.search={search}"]
    assert sweep([*words, "sweep.trials=3"]) == 0
    assert list(rates_by_seed(sweep).values()) == [[0, 1, 2]] * 3
    assert sweep([*words, "sweep.trials=4"]) == 0
    assert list(rates_by_seed(sweep).values()) == [[0, 1, 2]] * 4
    assert sweep([LR, "seed=0,1,2,3", *words[2:], "sweep.trials=4"]) == 0, "a further seed runs for every trial"
    assert list(rates_by_seed(sweep).values()) == [[0, 1, 2, 3]] * 4
    if search == "tpe":
        told = [trial.value for trial in load(sweep).trials]
        for lr in rates_by_seed(sweep):
            assert pytest.approx(fmean(best_losses(sweep, lr))) in told
            assert pytest.approx(fmean(best_losses(sweep, lr)[:3])) in told
        (sweep.folder.state / "optuna.db").unlink()
        sweep([LR, "seed=0,1,2,3", *words[2:], "sweep.trials=4"])
        assert [trial.state.name for trial in load(sweep).trials] == ["COMPLETE"] * 4


def test_a_trial_one_of_whose_seeds_fails_is_a_failed_one_until_that_is_mended(sweep: FakeSweep) -> None:
    words = [LR, "seed=0,1", "device=cpu", "sweep.search=tpe", "sweep.trials=2"]

    def failing(config: dict[str, Any]) -> float:
        if config["seed"] == 1:
            raise ValueError("no")
        return 0.5

    sweep.loss = failing
    assert sweep(words) == 3
    assert {trial.state.name for trial in load(sweep).trials} == {"FAIL"}
    sweep.loss = lambda config: 0.5
    assert sweep(words) == 0
    told = [trial.value for trial in load(sweep).trials if trial.state.name == "COMPLETE"]
    assert told == [pytest.approx(fmean(best_losses(sweep, lr))) for lr in rates_by_seed(sweep)]
    assert list(rates_by_seed(sweep).values()) == [[0, 1]] * 2


def test_a_pruner_does_not_go_with_several_seeds_a_trial(sweep: FakeSweep) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.pruner: a trial of several seeds"):
        sweep([LR, "seed=0,1", "device=cpu", "sweep.search=tpe", "sweep.pruner=median"])


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_known_settings_are_tried_first(search: str, sweep: FakeSweep) -> None:
    words = [LR, "optimizer=sgd,adam", "device=cpu", f"sweep.search={search}", "sweep.trials=4"]
    start = "sweep.start_with=[{optimizer.lr: 0.025, optimizer: adam},{optimizer.lr: 0.003}]"
    assert sweep([*words, start]) == 0
    first, second, *rest = [job.swept for job in sweep.folder.jobs.values()]
    assert first == {"optimizer.lr": 0.025, "optimizer": "adam"}
    assert second["optimizer.lr"] == 0.003
    assert len(rest) == 2
    assert sweep([*words[:-1], "sweep.trials=5", start]) == 0
    assert learning_rates(sweep).count(0.025) == 1, "what was tried is not tried again"
    with pytest.raises(ConfigError, match=r"\{optimizer\.lr: 5\} is not in the space of the search"):
        sweep([*words, "sweep.start_with=[{optimizer.lr: 5}]"])


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_more_values_may_be_added_to_a_search_later(search: str, sweep: FakeSweep) -> None:
    words = ["device=cpu", f"sweep.search={search}", "sweep.name=grows"]
    assert sweep([LR, "optimizer=sgd,adam", *words, "sweep.trials=3"]) == 0
    before = learning_rates(sweep)
    wider = "optimizer.lr=tag(log,interval(1e-5,1))"
    assert sweep([wider, "optimizer=sgd,adam,rmsprop", *words, "sweep.trials=9"]) == 0
    assert learning_rates(sweep)[:3] == before
    assert len(sweep.folder.jobs) == 9
    with pytest.raises(RunError, match="holds another search"):
        sweep([LR, "optimizer=sgd,adam", *words, "sweep.trials=9"])


def test_after_the_time_limit_no_further_job_begins(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep([*RANDOM, "sweep.time_limit=1e-6"], quiet=False) == 0
    assert not sweep.folder.jobs
    assert "are over (sweep.time_limit): no further job begins" in capsys.readouterr().out
    assert sweep(RANDOM) == 0
    assert len(sweep.folder.jobs) == 6

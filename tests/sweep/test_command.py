"""What a sweep is: its names, its folder, the states of its jobs, and what the same command does again."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest

import dlrun
from dlrun import cli
from dlrun.components.registry import MODELS
from dlrun.config.expand import expand
from dlrun.config.schema import entries, yamls
from dlrun.config.schema.schema import text_schema
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.report.compare import compare
from dlrun.run.signals import Signals
from dlrun.store.failure import Failure
from dlrun.store.rundir import RunDir
from dlrun.sweep import command, manage, names
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.identity import data_hash
from dlrun.sweep.names import job_slug
from dlrun.sweep.screen import SweepScreen, speed
from dlrun.sweep.state import Record
from tests.helpers.runs_by_hand import make_run
from tests.helpers.sweep_fakes import FakeSweep, read_sweep, states

FOUR = ["optimizer=sgd,adam", "seed=0,1", "device=cpu"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    monkeypatch.chdir(tmp_path)
    return FakeSweep(monkeypatch)


# --- names ------------------------------------------------------------------------------------------------------------


def sweep_name(fixed: list[str], keys: list[str], search: str) -> str:
    return names.sweep_name(names.result_words(fixed, text_schema()), keys, search)


def job_key(fixed: list[str], swept: dict[str, Any]) -> tuple[str, ...]:
    return names.job_words(fixed, swept, text_schema())


def test_a_sweep_is_found_by_its_fixed_words_and_the_names_of_its_keys() -> None:
    name = sweep_name(["model=mlp", "trainer.epochs=3"], ["seed", "optimizer.lr"], "grid")
    assert name == sweep_name(["trainer.epochs=3", "model=mlp"], ["optimizer.lr", "seed"], "grid")
    assert name == sweep_name(
        ["model=mlp", "trainer.epochs=3", "sweep.workers=2", "run.name=x"], ["seed", "optimizer.lr"], "grid"
    )
    assert name == sweep_name(["model=cnn", "model=mlp", "trainer.epochs=3"], ["seed", "optimizer.lr"], "grid")
    others = [
        sweep_name(["model=mlp", "trainer.epochs=4"], ["seed", "optimizer.lr"], "grid"),
        sweep_name(["model=mlp", "trainer.epochs=3"], ["seed"], "grid"),
        sweep_name(["model=mlp", "trainer.epochs=3"], ["seed", "optimizer.lr"], "tpe"),
    ]
    assert len({name, *others}) == 4


def test_names_need_no_quoting_anywhere() -> None:
    name = sweep_name(["dataset.path=/a b/ü.csv", "freeze=[^conv*]"], ["model.hidden"], "grid")
    slug = job_slug({"model.hidden": [64, 64], "dataset.path": "a/b c.csv"}, ["model.hidden", "dataset.path"], [])
    for text in (name, slug):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text)
        assert shlex.quote(text) == text


def test_slugs_are_short_readable_and_different() -> None:
    keys = ["optimizer", "optimizer.lr", "seed"]
    assert job_slug({"optimizer": "adam", "optimizer.lr": 0.1, "seed": 0}, keys, []) == "adam-lr0.1-seed0"
    first = job_slug({"optimizer.lr": 0.1000001}, keys, [])
    second = job_slug({"optimizer.lr": 0.1000002}, keys, [first])
    assert first != second
    assert job_slug({"model.a": "B"}, ["model.a"], ["ab"]).lower() != "ab"  # file systems that ignore case
    long = job_slug({f"model.key{i}": "x" * 20 for i in range(20)}, [f"model.key{i}" for i in range(20)], [])
    assert len(long) <= 60


def test_a_job_is_found_whatever_the_order_and_the_housekeeping() -> None:
    key = job_key(["model=mlp", "sweep.workers=4", "device.name=cuda:1"], {"seed": 1})
    assert key == job_key(["logger=jsonl", "+model=mlp"], {"seed": 1}) == ("model=mlp", "seed=1")
    assert key != job_key(["model=mlp"], {"seed": 2})
    assert key != job_key(["model=mlp", "checkpoint.monitor=val_accuracy"], {"seed": 1})
    swept = [job_key(["model=mlp"], {"device.name": name}) for name in ("cpu", "auto")]
    assert swept[0] != swept[1]


def test_swept_keys_always_make_jobs_of_their_own(sweep: FakeSweep) -> None:
    """Also those that change no result: else one value would stand for all."""
    assert sweep(["checkpoint.every_epochs=1,2", "device=cpu"]) == 0
    assert sweep.ran == ["every_epochs1", "every_epochs2"]


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_sweep_leaves_the_promised_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = FakeSweep(monkeypatch, draw=True)
    assert sweep(FOUR) == 0
    folder = sweep.folder
    assert {p.name for p in folder.path.iterdir()} >= {
        "sweep.yaml", "status.csv", "jobs", "results.csv", "comparison.png", "report.html",
    }  # fmt: skip
    assert sorted(p.name for p in (folder.path / "jobs").iterdir()) == [
        "adam-seed0", "adam-seed1", "sgd-seed0", "sgd-seed1",
    ]  # fmt: skip
    with open(folder.path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["optimizer"], row["seed"]) for row in rows] == [
        ("sgd", "0"),
        ("sgd", "1"),
        ("adam", "0"),
        ("adam", "1"),
    ]
    assert all(float(row["best.val_loss"]) and float(row["seconds"]) for row in rows)
    with open(folder.path / "status.csv", newline="") as file:
        (row, *_) = list(csv.DictReader(file))
    assert (row["job"], row["state"], row["optimizer"]) == ("sgd-seed0", "finished", "sgd")
    assert row["command"] == "dlrun device=cpu optimizer=sgd seed=0 device.threads=2"


def test_sweep_yaml_holds_the_whole_configuration_of_every_job(sweep: FakeSweep) -> None:
    sweep(FOUR)
    jobs = expand(FOUR).jobs
    frozen = sweep.folder.jobs.values()
    assert [job.config for job in frozen] == [job.config for job in jobs]
    assert [job.identity for job in frozen] == [job.config.identity for job in jobs if job.config]
    assert [job.overrides for job in frozen] == [job.overrides for job in jobs]
    assert "dlrun -m" in sweep.folder.commands[0]["command"]


def test_the_fast_dumper_writes_what_is_read_back_the_same(tmp_path: Path) -> None:
    values = {
        "a": 1e-3,
        "b": "1e-3",
        "c": [1, 2.5, "x, y"],
        "d": {"e": None, "f": "${x}", "g": "no"},
        "h": "2020-01-01",
    }
    (tmp_path / "a.yaml").write_text(entries.dump_entries(values, {}))
    assert yamls.load_file(tmp_path / "a.yaml") == {**values, "jobs": {}}


def test_two_sweeps_of_one_folder_are_refused(sweep: FakeSweep, tmp_path: Path) -> None:
    first = SweepDir(tmp_path / "s")
    first.open()
    with pytest.raises(RunError, match=r"in use by another sweep.*sweep stop"):
        sweep([*FOUR, f"sweep.dir={tmp_path / 's'}"])
    first.close()
    assert sweep([*FOUR, f"sweep.dir={tmp_path / 's'}"]) == 0


def test_a_folder_with_anything_else_in_it_is_refused(sweep: FakeSweep, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "results.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    make_run(tmp_path / "run")
    for place, what in (("mine", "files that are no sweep's"), ("run", "a run")):
        with pytest.raises(ConfigError, match=rf"sweep\.dir: .*{place} holds {what}"):
            sweep([*FOUR, f"sweep.dir={tmp_path / place}"])
    assert mine.read_text() == "mine"
    for name in ("../x", "/tmp/x", "."):
        with pytest.raises(ConfigError, match=r"sweep\.name.*sweep\.dir="):
            sweep([*FOUR, f"sweep.name={name}"])
    for name in ("jobs", ".state"):  # left by a sweep that was killed in its first moments
        (tmp_path / "s" / name).mkdir(parents=True)
    (tmp_path / "s" / ".sweep.yaml.vchpji80.tmp").touch()
    assert sweep([*FOUR, f"sweep.dir={tmp_path / 's'}"]) == 0


def test_a_folder_that_is_no_sweep_of_ours_is_left_alone(sweep: FakeSweep, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.yaml").write_text("format: 99\n")
    with pytest.raises(RunError, match="not a sweep that this dlrun can read"):
        sweep([*FOUR, f"sweep.dir={tmp_path / 's'}"])


# --- the same command again -------------------------------------------------------------------------------------------


def test_the_same_command_again_runs_nothing(sweep: FakeSweep) -> None:
    sweep(FOUR)
    assert sweep(FOUR) == 0
    assert len(sweep.executors) == 1  # no workers were started at all
    assert len(sweep.folder.commands) == 2


def test_one_value_more_runs_only_the_new_jobs(sweep: FakeSweep) -> None:
    sweep(FOUR)
    assert sweep(["optimizer=sgd,adam", "seed=0,1,2", "device=cpu"]) == 0
    assert sweep.ran == ["sgd-seed2", "adam-seed2"]
    assert len(sweep.folder.jobs) == 6


def test_the_table_shows_this_commands_jobs_and_counts_the_others(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(FOUR)
    capsys.readouterr()
    assert sweep(["optimizer=sgd,adam", "seed=2,3", "device=cpu"], quiet=False) == 0
    printed = capsys.readouterr().out
    assert "seed: 2, 3" in printed
    assert "4 jobs: 4 finished (4 others in the folder)." in printed
    assert printed.endswith(f"All jobs in the folder:  dlrun compare {sweep.folder.path}\n")
    with open(sweep.folder.path / "results.csv", newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["2", "3"] * 2  # what the table shows
    assert len(compare([sweep.folder.path]).jobs) == 8


def test_failed_jobs_are_run_again_unless_that_is_switched_off(sweep: FakeSweep) -> None:
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    assert sweep(FOUR) == 3
    assert [record.state for record in states(sweep.folder).values()] == ["finished", "failed"] * 2
    sweep.loss = lambda config: 0.1
    assert sweep([*FOUR, "sweep.retry_failed=false"]) == 3
    assert len(sweep.executors) == 1
    assert sweep(FOUR) == 0
    assert sweep.ran == ["sgd-seed1", "adam-seed1"]
    assert [record.attempts for record in states(sweep.folder).values()] == [1, 2, 1, 2]


def _fail(yes: bool) -> float:
    if yes:
        raise ValueError("no luck")
    return 0.1


def test_an_unfinished_job_takes_todays_words(sweep: FakeSweep) -> None:
    """What chooses the best epoch makes other jobs; how a job is saved does not, and can be mended."""
    words = ["seed=0,1", "device=cpu", "sweep.name=s"]
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    assert sweep([*words, "checkpoint.every_steps=7"]) == 3
    sweep.loss = lambda config: 0.1
    assert sweep([*words, "checkpoint.every_steps=9"]) == 0
    assert [(task.slug, task.config["checkpoint"]["every_steps"]) for task in sweep.executors[-1].tasks] == [
        ("seed1", 9)
    ]
    assert "checkpoint.every_steps=9" in sweep.folder.jobs["seed1"].overrides
    assert "checkpoint.every_steps=7" in sweep.folder.jobs["seed0"].overrides  # it has run with that
    assert sweep([*words, "checkpoint.monitor=val_accuracy", "checkpoint.mode=max"]) == 0
    assert len(sweep.ran) == 2
    assert sweep.executors[-1].tasks[0].config["checkpoint"]["monitor"] == "val_accuracy"


def test_a_job_that_is_ended_from_outside_has_failed(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    def loss(config: dict[str, Any]) -> float:
        if config["seed"] == 1:
            raise InterruptedError("stopped by SIGTERM")
        return 0.1

    sweep.loss = loss
    assert sweep(["seed=0,1", "device=cpu"]) == 3
    assert "failed: seed=1\n  stopped by SIGTERM from outside the sweep\n" in capsys.readouterr().out


def test_every_failure_is_listed_with_its_cause_and_how_to_run_it_alone(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    def loss(config: dict[str, Any]) -> float:
        if config["optimizer"]["name"] == "adam":
            raise MemoryError
        return _fail(config["seed"] == 1)

    sweep.loss = loss
    assert sweep(FOUR) == 3
    printed = capsys.readouterr().out
    assert "failed: optimizer=sgd seed=1\n  no luck\n" in printed
    assert "failed: optimizer=adam seed=0\n  killed: SIGKILL; perhaps the machine ran out of memory\n" in printed
    assert "  last line: its last words\n" in printed
    assert "  alone: dlrun device=cpu optimizer=adam seed=0\n" in printed
    assert "4 jobs: 1 finished, 3 failed." in printed


@pytest.mark.parametrize(
    ("words", "told"), [([], " device.threads=2"), (["device.threads=1"], ""), (["device.threads=null"], "")]
)
def test_a_job_that_runs_alone_is_given_the_threads_that_it_had(
    sweep: FakeSweep, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number in the sweep is limited by the job's share of the processors, and the last bits depend on it."""
    assert sweep(["seed=0", "optimizer=sgd,adam", "device=cpu", *words]) == 0
    (path,) = Path("outputs/sweeps").iterdir()
    command = " ".join(["dlrun", "seed=0", "device=cpu", *words, "optimizer=adam"]) + told
    for name in ("status.csv", "results.csv"):
        with open(path / name) as file:
            assert command in [row["command"] for row in csv.DictReader(file)]
    run = read_sweep(path).run("adam")
    run.write_status(state="failed", error="no luck", kind="component", exit_code=4)
    assert cli.main(["sweep", "status", str(path)]) == 0
    assert f"alone: {command}\n" in capsys.readouterr().out


def test_a_frozen_job_keeps_its_configuration_and_is_called_stale(
    sweep: FakeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = tmp_path / "conf"
    (conf / "trainer").mkdir(parents=True)
    (conf / "dlrun.yaml").write_text("")
    mine = conf / "trainer" / "mine.yaml"
    mine.write_text("defaults: [default, _self_]\nepochs: 3\n")
    words = ["trainer=mine", "seed=0,1", "device=cpu"]
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    sweep(words)
    mine.write_text("defaults: [default, _self_]\nepochs: 5\n")
    sweep.loss = lambda config: 0.1
    assert sweep(words, quiet=False) == 0
    assert "stale: 2 jobs (changed since: configuration 2)" in capsys.readouterr().out
    assert [task.config["trainer"]["epochs"] for task in sweep.executors[-1].tasks] == [3]
    assert sweep([*words, "sweep.refresh=true"]) == 0
    assert [task.config["trainer"]["epochs"] for task in sweep.executors[-1].tasks] == [5, 5]
    sweep([*words], quiet=False)
    assert "stale" not in capsys.readouterr().out


def test_a_refresh_that_is_refused_leaves_the_results(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(FOUR)

    def refuse(executor: Any, jobs: list[Any], screen: SweepScreen) -> None:
        assert len(jobs) == 4
        raise ConfigError(Problem("model", "cannot be built."))

    with monkeypatch.context() as patch:
        patch.setattr("dlrun.sweep.freeze.code_hash", lambda: "other")
        patch.setattr(command, "check_first", refuse)
        with pytest.raises(ConfigError, match="cannot be built"):
            sweep([*FOUR, "sweep.refresh=true"])
        assert [record.state for record in states(sweep.folder).values()] == ["finished"] * 4
        patch.setattr(command, "check_first", lambda *_: None)
        assert sweep([*FOUR, "sweep.refresh=true"]) == 0
    assert len(sweep.ran) == 4
    assert [record.attempts for record in states(sweep.folder).values()] == [1] * 4


def test_changed_data_and_code_are_stale_too(
    sweep: FakeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("Ada,English\nMarie,French\n")
    words = ["dataset=names", "model=gru", "dataset.train_path=train.csv", "dataset.test_path=test.csv", "seed=0,1"]
    sweep(words)
    (tmp_path / "train.csv").write_text("Ada,English\nMarie,French\nKurt,German\n")
    sweep(words, quiet=False)
    assert "changed since: data 2" in capsys.readouterr().out
    monkeypatch.setattr("dlrun.sweep.freeze.code_hash", lambda: "other")
    sweep(words, quiet=False)
    assert "changed since: code 2, data 2" in capsys.readouterr().out


def test_a_job_that_goes_on_with_other_code_is_stale_and_marked(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(["seed=0,1,2", "device=cpu"])
    (old,) = {record.code for record in states(sweep.folder).values()}
    for slug in ("seed0", "seed1"):
        job = sweep.folder.path / "jobs" / slug
        status = json.loads((job / "status.json").read_text()) | {"state": "interrupted"}
        (job / "status.json").write_text(json.dumps(status))
    (sweep.folder.path / "jobs" / "seed0" / "checkpoints").mkdir(exist_ok=True)
    (sweep.folder.path / "jobs" / "seed0" / "checkpoints" / "last.pt").touch()
    for module in ("freeze", "drive"):
        monkeypatch.setattr(f"dlrun.sweep.{module}.code_hash", lambda: "other")
    sweep(["seed=0,1,2", "device=cpu"], quiet=False)
    assert "stale: 2 jobs (changed since: code 2); what is done stays" in capsys.readouterr().out
    assert [record.code for record in states(sweep.folder).values()] == [f"{old} then other", "other", old]


def test_the_data_hash_sees_content_but_not_the_time(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("1")
    section = {"name": "names", "train_path": str(file), "root": str(tmp_path / "root")}
    before = data_hash(section)
    file.touch()
    assert data_hash(section) == before
    file.write_text("2")
    assert data_hash(section) != before
    assert data_hash({"name": "digits"}) == ""
    for key in ("path", "train_path", "val_path", "test_path"):
        assert data_hash({"name": "image_folder", key: str(tmp_path)}) != ""


# --- impossible jobs --------------------------------------------------------------------------------------------------


def test_impossible_jobs_are_named_before_anything_trains(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"(?s)trainer\.epochs=0.*1 of 2 jobs cannot be run.*skip_invalid"):
        sweep(["trainer.epochs=1,0", "device=cpu"])
    assert not Path("outputs").exists()
    assert sweep(["trainer.epochs=1,0", "device=cpu", "sweep.skip_invalid=true"]) == 3
    records = states(sweep.folder)
    assert [record.state for record in records.values()] == ["finished", "failed"]
    failure = records["epochs0"].failure
    assert failure is not None
    assert (failure.kind, "trainer.epochs" in failure.message) == ("input", True)
    capsys.readouterr()
    assert sweep(["trainer.epochs=2,0", "device=cpu", "sweep.skip_invalid=true"], quiet=False) == 3
    printed = capsys.readouterr().out
    assert "2 jobs, 1 to run, 1 impossible\n[1/1] finished" in printed
    assert "2 jobs: 1 finished, 1 failed (1 impossible) (1 other in the folder)" in printed


def test_one_mistake_of_many_jobs_is_told_once(sweep: FakeSweep) -> None:
    with pytest.raises(ConfigError) as refused:
        sweep(["trainer.epochs=1,0", "seed=range(50)", "device=cpu"])
    first, *_ = (str(problem) for problem in refused.value.problems)
    assert first.startswith("trainer.epochs=0 seed=0 (and 49 more jobs): trainer.epochs: ")
    assert len(refused.value.problems) == 2


def test_words_that_would_do_nothing_are_refused(sweep: FakeSweep) -> None:
    with pytest.raises(ConfigError, match=r"(?s)run\.dir: .*sweep\.dir.*run\.name: .*sweep\.name") as refused:
        sweep(["seed=0,1", "device=cpu", "run.dir=x", "run.name=a,b"])
    assert len(refused.value.problems) == 2
    with pytest.raises(ConfigError, match=r"sweep\.params\.seed: does nothing beside seed"):
        sweep(["seed=0,1", "device=cpu", "sweep.params.seed=3"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimizer=glob([a-m]*,exclude=ada*)", r"can be read\. It is written like glob\('\[a-m\]\*'"),
        ("trainer.epochs=range(1,)", r"can be read\. It is written like range\(5, 20, 5\)\."),
        ("run.name=${oc.env:NOPE}", r"has no value: Environment variable 'NOPE' not found\."),
    ],
)
def test_no_parser_speaks_to_people(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand([word, "seed=0,1"])


def test_the_library_does_not_take_a_sweep_for_a_run() -> None:
    swept = ["experiment=sweep/learning_rates", "trainer=smoke"]
    with pytest.raises(
        ConfigError, match=r"a sweep over optimizer, optimizer\.lr, seed, not one run.*optimizer=\.\.\."
    ):
        dlrun.compose(swept)
    one = dlrun.compose([*swept, "optimizer=sgd", "optimizer.lr=0.1", "seed=0"])
    assert (one.optimizer.lr, one.sweep.params) == (0.1, {})
    assert {"compose", "train", "load_run", "register"} <= set(dir(dlrun))


# --- states -----------------------------------------------------------------------------------------------------------


def test_the_run_directory_decides_what_became_of_a_job(sweep: FakeSweep) -> None:
    """A sweep that was killed left no word of its own."""
    sweep(["seed=range(5)", "device=cpu"])
    folder = sweep.folder
    for slug in folder.jobs:
        (folder.state / f"{slug}.json").unlink()
    for number, state in enumerate(("finished", "running", "failed", "interrupted", "pruned")):
        status = folder.path / "jobs" / f"seed{number}" / "status.json"
        status.write_text(json.dumps(json.loads(status.read_text()) | {"state": state}))
    found = [record.state for record in states(folder).values()]
    assert found == ["finished", "waiting", "failed", "waiting", "pruned"]  # running, but nobody holds the lock
    with RunDirHeld(folder.path / "jobs" / "seed1"):
        assert states(folder)["seed1"].state == "running"


class RunDirHeld:
    """`with RunDirHeld(path):` as a process that trains there would."""

    def __init__(self, path: Path) -> None:
        self.run = RunDir(path)

    def __enter__(self) -> None:
        self.run.lock()

    def __exit__(self, *exception: object) -> None:
        self.run.unlock()


def test_a_job_that_another_process_runs_is_waited_for(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.sweep.drive.DYING", 0.2)
    sweep(["seed=0,1", "device=cpu"])
    path = sweep.folder.path / "jobs" / "seed1"
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    other = RunDir(path)
    other.lock()
    looks: list[int] = []

    def finish_elsewhere(self: Any, seconds: float) -> list[Any]:
        looks.append(1)
        if len(looks) == 3:
            (path / "status.json").write_text(json.dumps(status))
            other.unlock()
        return []

    monkeypatch.setattr("tests.helpers.sweep_fakes.FakeExecutor.wait", finish_elsewhere)
    assert sweep(["seed=0,1", "device=cpu"]) == 0
    assert len(looks) >= 3
    assert sweep.ran == []


def test_a_sweep_removes_nothing_that_lies_in_the_place_of_a_job(sweep: FakeSweep) -> None:
    sweep(["seed=0,1", "device=cpu"])
    path = sweep.folder.path / "jobs" / "seed1"
    (path / "status.json").unlink()
    (sweep.folder.state / "seed1.json").unlink()
    before = {file.name for file in path.iterdir()}
    sweep(["seed=0,1", "device=cpu"])
    assert before <= {file.name for file in path.iterdir()}


def test_every_signal_that_ends_a_run_stops_a_sweep() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        with Signals(held=True) as stopping:
            os.kill(os.getpid(), number)
        assert stopping.number == number


# --- status, retry, stop ----------------------------------------------------------------------------------------------


def test_status_and_retry_need_only_the_folder(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    sweep(FOUR)
    path = str(sweep.folder.path)
    capsys.readouterr()
    assert manage.status_command(path) == 0
    printed = capsys.readouterr().out
    assert "4 jobs: 2 finished, 2 failed; no process runs it." in printed
    assert "no luck" in printed
    sweep.loss = lambda config: 0.1
    assert manage.retry_command(path, argv=["sweep", "retry", path], quiet=True) == 0
    assert sweep.ran == ["sgd-seed1", "adam-seed1"]
    assert manage.stop_command(path) == 0
    assert "is not running" in capsys.readouterr().out


NET = """
import dlrun
@dlrun.register.model("net")
def net(spec): ...
"""


def test_a_retry_needs_the_plug_ins_and_goes_back_to_the_folder(
    sweep: FakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        Path(f"{name}.py").write_text(NET.replace("net", name))
    path = str(tmp_path / "s")
    sweep.loss = lambda config: _fail(True)
    words = ["model=one,two", "plugins=[two.py]", "device=cpu", f"sweep.dir={path}"]
    assert sweep(words, flags=["--plugin", "one.py"]) == 3
    assert "  alone: dlrun --plugin one.py 'plugins=[two.py]' device=cpu model=two\n" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with monkeypatch.context() as patch:
        patch.delitem(MODELS.plugins, "one")
        retry = rf"dlrun sweep retry {path} --plugin \.\./one\.py --plugin \.\./two\.py"
        with pytest.raises(ConfigError, match=rf"(?s)the model 'one' is not one of dlrun's.*{retry}"):
            manage.retry_command(path, quiet=True)
    assert [record.attempts for record in states(read_sweep(Path(path))).values()] == [1, 1]
    sweep.loss = lambda config: 0.1
    assert manage.retry_command(path, quiet=True) == 0
    assert {task.folder for task in sweep.executors[-1].tasks} == {str(tmp_path)}


@pytest.mark.parametrize("act", [manage.status_command, manage.retry_command, manage.stop_command])
def test_commands_on_a_folder_that_is_no_sweep_say_so(act: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(RunError, match="holds no sweep"):
        act(str(tmp_path / "run"))


def test_a_sweep_that_only_begins_can_be_looked_at_and_stopped(
    sweep: FakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While one job of each kind is built there is no sweep.yaml yet."""
    path = tmp_path / "s"

    def look_and_stop(*_: Any) -> None:
        assert manage.status_command(str(path)) == 0
        with monkeypatch.context() as patch:
            patch.setattr("dlrun.sweep.folder.PATIENCE", 0.0)
            with pytest.raises(RunError, match=rf"in use by another sweep \(pid {os.getpid()} on "):
                manage.retry_command(str(path))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(command, "check_first", look_and_stop)
    assert sweep([*FOUR, f"sweep.dir={path}"]) == 143
    printed = capsys.readouterr()
    assert f"is just beginning, run by process {os.getpid()}." in printed.out
    assert "Stopped by SIGTERM; the same command goes on." in printed.err
    assert not path.exists()


def test_who_looks_at_a_sweep_is_in_nobodys_way(
    sweep: FakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(FOUR)
    path = sweep.folder.path
    with monkeypatch.context() as patch:
        patch.setattr("dlrun.store.rundir.os.open", forbidden)  # as in a folder that may not be written to
        assert manage.status_command(str(path)) == manage.stop_command(str(path)) == 0
    assert "is not running" in capsys.readouterr().out
    with open(path / ".lock", "rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        Timer(0.3, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        held = SweepDir(path)
        held.open()
        held.close()


def forbidden(path: Any, flags: int, *rest: Any, **options: Any) -> int:
    """`os.open` for reading alone."""
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise PermissionError("read-only")
    return OPEN(path, flags, *rest, **options)


OPEN = os.open


def test_a_retry_of_a_search_says_what_only_its_own_command_begins(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(["trainer.epochs=range(1,10)", "device=cpu", "sweep.search=random", "sweep.trials=4"])
    folder = sweep.folder
    assert manage.retry_command(str(folder.path)) == 0
    assert "trials were begun" not in capsys.readouterr().out
    folder.settings["trials"] = 20  # as if it had been stopped
    folder.write()
    assert manage.retry_command(str(folder.path)) == 0
    said = r"4 of 9 trials were begun; the others:  dlrun -m 'trainer.epochs=range\(1,10\)' device=cpu"
    assert re.search(said, capsys.readouterr().out)
    assert command.interrupted(folder, [], {}, signal.SIGINT) == 130
    assert "Go on with:  dlrun -m 'trainer.epochs=range(1,10)'" in capsys.readouterr().out


def test_a_retry_of_a_pruned_grid_prunes(sweep: FakeSweep) -> None:
    pytest.importorskip("optuna")
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    assert sweep(["seed=0,1", "device=cpu", "sweep.pruner=median"]) == 3
    sweep.loss = lambda config: 0.1
    assert manage.retry_command(str(sweep.folder.path), quiet=True) == 0
    assert [(task.slug, task.prune) for task in sweep.executors[-1].tasks] == [("seed1", True)]


def test_read_sweep_of_an_empty_folder_is_empty(tmp_path: Path) -> None:
    assert read_sweep(tmp_path).jobs == {}


# --- the screen -------------------------------------------------------------------------------------------------------


def test_the_live_table_shows_what_runs_and_what_is_left(
    sweep: FakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    sweep(["seed=0,1,2", "device=cpu", "trainer.epochs=10"])
    jobs = list(sweep.folder.jobs.values())
    screen = SweepScreen(terminal=True)
    monkeypatch.setattr("dlrun.sweep.screen.time", SimpleNamespace(monotonic=lambda: screen.began + 10.0))
    screen.expect(8, 2)
    screen.ended(sweep.folder, jobs[0], Record(state="waiting", seconds=10.0))  # stopped: it says nothing of the speed
    assert capsys.readouterr().out.splitlines()[-1].startswith("[2/8] stopped seed=0 (")
    for state in ("finished", "failed"):
        record = Record(state=state, failure=Failure("component", "no luck\nat all"), seconds=10.0)
        screen.ended(sweep.folder, jobs[0], record)
    assert screen.summary(2) == "4/8 done, 2 running, 1 failed", "two jobs say little of the others"
    screen.ended(sweep.folder, jobs[0], Record(state="pruned", seconds=1.0))
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(screen.table(sweep.folder, jobs[1:]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "5/8 done, 2 running, 1 failed, 18 jobs a minute, about 10.0 s left" in shown
    assert "seed=1 epoch 3/10 train_loss 0.5" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (1234.0, "1,234 jobs a second"),
        (12.3, "12 jobs a second"),
        (1.0, "1.0 jobs a second"),
        (0.05, "3.0 jobs a minute"),
        (1 / 7200, "0.5 jobs an hour"),
    ],
)
def test_a_speed_has_a_unit_that_suits_it(rate: float, words: str) -> None:
    assert speed(rate) == words


def test_a_sweep_goes_on_when_nobody_reads_on(sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dlrun -m ... | head`, also when the reader goes before the first line, or in the middle of the last ones."""
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    for seeds in ("0,1", "2,1"):
        reader, writer = os.pipe()
        os.close(reader)
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", os.fdopen(writer, "w"))
            assert cli.main(["-m", f"seed={seeds}", "device=cpu", *(["--quiet"] if seeds == "2,1" else [])]) == 3
            sys.stdout.close()
    assert [record.state for record in states(sweep.folder).values()] == ["finished", "failed", "finished"]
    assert (sweep.folder.path / "results.csv").exists()


@pytest.mark.parametrize("full", [True, False])
def test_a_sweep_goes_on_when_its_words_cannot_be_written(
    sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """`dlrun -m ... > /dev/full` (as on a full disk), and `>&-`."""
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", os.fdopen(os.open("/dev/full", os.O_WRONLY), "w") if full else None)
        assert cli.main(["-m", "seed=0,1", "device=cpu"]) == 0
        sys.stdout.close()
    assert len(sweep.ran) == 2


def test_a_full_disk_under_the_sweep_ends_it_with_one_message(
    sweep: FakeSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dlrun.sweep.drive.write_record", full)
        assert cli.main(["-m", "seed=0,1", "device=cpu"]) == 4
    assert re.search(r"cannot write to outputs/sweeps/\S+: No space left on device\. The same", capsys.readouterr().err)
    assert sweep.executors[-1].signals == [signal.SIGTERM]
    with monkeypatch.context() as patch:
        patch.setattr("dlrun.sweep.folder.SweepDir.write", full)
        assert cli.main(["-m", "seed=0,1", "device=cpu"]) == 4
    assert sweep.executors[-1].closed
    assert not sweep.executors[-1].tasks
    assert sweep(["seed=0,1", "device=cpu"]) == 0


@pytest.mark.parametrize("words", [["-m", "seed=0,1", "device=cpu", "sweep.name={}"], ["sweep", "status", "{}"]])
def test_a_name_that_is_too_long_is_refused(
    sweep: FakeSweep, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("outputs/sweeps").mkdir(parents=True)
    assert cli.main([word.format("x" * 300) for word in words]) == 2
    assert re.search(r"File name too long|holds no sweep", capsys.readouterr().err)


def test_piped_a_job_is_a_line(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.loss = lambda config: _fail(config["seed"] == 1)
    sweep(["seed=0,1", "device=cpu"], quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert "2 jobs, 2 to run" in lines
    assert any(line.startswith("[1/2] finished seed=0 val_loss 0.") for line in lines)
    assert any(line.startswith("[2/2] failed seed=1: no luck (") for line in lines)

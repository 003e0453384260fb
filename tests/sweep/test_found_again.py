"""What is found again when a command is repeated: jobs by what they compute, sweeps under today's and former names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlrun.config.config import current_schema
from dlrun.sweep.names import former_name, job_words, last_words
from tests.helpers.sweep_fakes import FakeSweep, read_sweep

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "runs" / "sweeps"
IRIS = ["device=cpu", "device.threads=1", "dataset=iris", "model.hidden=[8]"]
SEEDS = [*IRIS, "optimizer=sgd,adam", "seed=0,1", "trainer.epochs=2", "optimizer.lr=0.05"]
GRID = [*IRIS, "dataset.standardise=true", "optimizer=sgd", "optimizer.lr=0.1,0.01,1e30", "trainer.epochs=2",
        "sweep.retry_failed=false"]  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    monkeypatch.chdir(tmp_path)
    return FakeSweep(monkeypatch)


def old_sweep(name: str, place: str) -> Path:
    """A sweep that dlrun 0.1 wrote, in this folder under outputs/sweeps."""
    return Path(shutil.copytree(FIXTURES / name, Path("outputs/sweeps", place)))


# --- sweeps of dlrun 0.1 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words", "changes", "jobs"),
    [
        ("seeds", SEEDS, ["trainer.print_every=1"], 4),
        ("seeds", SEEDS, ["device.threads=2", "logger=jsonl", "checkpoint.keep=3", "trainer.profile=true"], 4),
        ("grid", GRID, [], 3),  # print_every=1 was fixed when it was made
        ("grid", GRID, ["trainer.print_every=1"], 3),
        ("grid", [*GRID, "trainer.print_every=1"], ["freeze=[]", "trainer.accumulate=1"], 3),  # as by default
    ],
)
def test_what_changes_no_result_trains_nothing_again(
    name: str, words: list[str], changes: list[str], jobs: int, sweep: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    old_sweep(name, "mine")
    sweep([*words, *changes, "sweep.name=mine"], quiet=False)
    assert sweep.executors == []
    printed = capsys.readouterr().out
    assert f"{jobs} jobs, 0 to run" in printed
    assert "changed since: configuration" not in printed
    assert len(sweep.folder.jobs) == jobs


@pytest.mark.parametrize("word", ["freeze=[layers.0*]", "checkpoint.monitor=val_accuracy", "trainer.accumulate=2"])
def test_what_changes_the_result_trains_all_again(word: str, sweep: FakeSweep) -> None:
    old_sweep("seeds", "mine")
    assert sweep([*SEEDS, word, "sweep.name=mine"]) == 0
    assert len(sweep.ran) == 4
    assert len(sweep.folder.jobs) == 8


def test_a_key_that_came_later_takes_its_default(sweep: FakeSweep) -> None:
    later = ("accumulate", "init_from", "decay_norm_and_bias")
    path = old_sweep("seeds", "mine") / "sweep.yaml"
    text = path.read_text()
    path.write_text("".join(line for line in text.splitlines(True) if line.split(":")[0].strip() not in later))
    assert len(path.read_text()) < len(text) - 120
    assert sweep([*SEEDS, "sweep.name=mine"]) == 0
    assert sweep.executors == []
    assert [job.config.trainer.accumulate for job in sweep.folder.jobs.values()] == [1] * 4
    assert sweep([*SEEDS, "trainer.accumulate=2", "sweep.name=mine"]) == 0
    assert len(sweep.ran) == 4


OLD = "iris-threads1-cpu-hidden_8-lr0.05-epochs2-by-optimize-1d96d9"  # of SEEDS: `device.threads` counted


@pytest.mark.parametrize("changes", [[], ["trainer.print_every=1"], ["device.threads=2", "device.fast=true"]])
def test_a_sweep_is_found_under_the_name_that_dlrun_0_1_gave_it(changes: list[str], sweep: FakeSweep) -> None:
    old_sweep("grid", "another")
    Path("outputs/sweeps/damaged").mkdir()
    Path("outputs/sweeps/damaged/sweep.yaml").write_text("jobs:\n  trainer.epochs=2: [\n")
    old = read_sweep(old_sweep("seeds", OLD))
    assert sweep([*SEEDS, *changes]) == 0
    assert sweep.executors == []
    assert len(read_sweep(old.path).commands) == 2
    fewer = [word for word in SEEDS if not word.startswith("device.threads")]
    assert sweep(fewer) == 0
    assert len(read_sweep(old.path).commands) == 3


@pytest.mark.parametrize(
    ("word", "place"),
    [("trainer.epochs=3", OLD), ("dataset=iris", "set-aside"), ("freeze=[body*]", OLD), ("sweep.search=random", OLD)],
)
def test_another_sweep_or_one_that_the_user_renamed_is_not_it(word: str, place: str, sweep: FakeSweep) -> None:
    old = old_sweep("seeds", place)
    assert sweep([*SEEDS, word]) == 0
    assert len(sweep.ran) == 4
    assert len(read_sweep(old).commands) == 1


def test_a_sweep_is_found_again_after_its_jobs_took_todays_words(sweep: FakeSweep) -> None:
    old = old_sweep("seeds", OLD)
    shutil.rmtree(old / "jobs" / "sgd-seed0")
    more = ["trainer.print_every=1", "device.threads=2"]
    assert sweep([*SEEDS, *more]) == 0
    assert sweep.ran == ["sgd-seed0"]
    assert "device.threads=2" in read_sweep(old).jobs["sgd-seed0"].fixed
    for words in (SEEDS, [*SEEDS, *more]):
        assert sweep(words) == 0
    assert len(sweep.executors) == 1
    old.rename(old.with_name("set-aside"))
    assert sweep(SEEDS) == 0
    assert len(sweep.ran) == 4


def test_todays_name_goes_before_a_former_one(sweep: FakeSweep) -> None:
    assert sweep(SEEDS) == 0
    today = sweep.folder.path
    assert "threads" not in today.name
    old_sweep("seeds", OLD)
    assert sweep(SEEDS) == 0
    assert len(sweep.executors) == 1
    assert len(read_sweep(today).commands) == 2


def test_former_names_are_those_of_dlrun_0_1() -> None:
    words = ["dataset=iris", "dataset.standardise=true", "trainer.print_every=1", "checkpoint.keep=3", "device=cpu"]
    assert former_name(words, ["seed"], "grid") == "standardisetrue-iris-cpu-print_every1-by-seed-520c3a"
    assert former_name(reversed([*words, "device.name=cpu"]), ["seed"], "grid").endswith("-by-seed-520c3a")
    assert former_name(SEEDS[:4] + SEEDS[6:], ["seed", "optimizer"], "grid") == OLD


# --- jobs of today ----------------------------------------------------------------------------------------------------


def test_a_job_is_found_by_what_it_computes(sweep: FakeSweep) -> None:
    assert sweep(["optimizer=momentum", "seed=0,1", "sweep.name=s", "device=cpu"]) == 0
    assert sweep(["optimizer=sgd", "optimizer.momentum=0.9", "seed=0,1", "sweep.name=s", "trainer.log_every=5"]) == 0
    assert len(sweep.executors) == 1
    assert sweep(["optimizer=sgd", "optimizer.momentum=0.8", "seed=0,1", "sweep.name=s"]) == 0
    assert len(sweep.ran) == 2
    assert sweep(["optimizer=momentum", "optimizer.lr=0.01,1e-2", "seed=0", "sweep.name=s"]) == 0
    assert len(sweep.executors) == 2


def test_equal_jobs_of_one_sweep_are_named_and_run_once(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimizer=momentum,sgd", "optimizer.momentum=0.9", "seed=0,1", "device=cpu"]
    assert sweep(words, quiet=False) == 0
    assert sweep.ran == ["momentum-seed0", "momentum-seed1"]
    printed = capsys.readouterr().out
    assert "note: optimizer=sgd seed=0 is the same as optimizer=momentum seed=0: one job is run for both\n" in printed
    assert "2 jobs, 2 to run" in printed
    assert "2 jobs: 2 finished." in printed
    assert sweep(words, quiet=False) == 0
    assert len(sweep.executors) == 1
    assert "optimizer=sgd seed=1 is the same as optimizer=momentum seed=1" in capsys.readouterr().out


def test_many_equal_jobs_are_counted(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(["optimizer=momentum,sgd", "optimizer.momentum=0.9", "seed=range(8)"], quiet=False) == 0
    printed = capsys.readouterr().out
    assert printed.count("one job is run for both") == 5
    assert "note: the same holds for 3 more jobs\n" in printed


def test_values_that_are_given_twice_are_said(sweep: FakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(["seed=0,0,0", "optimizer.lr=0.1,0.1,1e-1", "device=cpu"], quiet=False) == 0
    assert sweep.ran == ["seed0-lr0.1"]
    printed = capsys.readouterr().out
    for word in ("seed=0", "optimizer.lr=0.1"):
        assert printed.count(f"note: {word} is given more than once: it is run once\n") == 1
    assert sweep(["seed=3,3", "sweep.search=random", "optimizer.lr=0.1,0.2,0.2", "sweep.trials=9"], quiet=False) == 0
    assert "2 jobs, 2 to run (every combination there is)" in capsys.readouterr().out


def test_values_of_an_experiment_that_are_given_twice_are_said(
    sweep: FakeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "dlrun.yaml").touch()
    (tmp_path / "conf" / "experiment" / "twice.yaml").write_text("sweep: {params: {seed: [0, 1, 0]}}\n")
    assert sweep(["experiment=twice"], quiet=False) == 0
    assert len(sweep.ran) == 2
    assert "note: seed=0 is given more than once" in capsys.readouterr().out


def test_two_dicts_for_one_key_are_both_part_of_the_job(sweep: FakeSweep) -> None:
    """Hydra merges them; the last one alone does not tell the job."""
    both = ["sweep.slurm={a: 1}", "model.opts={a: 1}", "model.opts={b: 2}", "model.opts=null", "model.opts={c: 3}"]
    assert last_words(both)["model.opts"] == "model.opts=null model.opts={c: 3}"
    one, two = (job_words(words, {}, current_schema()) for words in (both[1:3], both[2:3]))
    assert one == ("model.opts={a: 1} model.opts={b: 2}",)
    assert two == ("model.opts={b: 2}",)
    adding = ["freeze=[a]", "freeze+=[b]"]
    assert job_words(adding, {}, current_schema()) == (" ".join(adding),)
    layers = "model.layers=[{linear: {out: 4}}, relu, {linear: {out: auto}}]"
    group = "dataset.augment=[{random_horizontal_flip: {p: 0.5}}]"
    assert job_words([layers, group], {}, current_schema()) == (group, layers)


@pytest.mark.parametrize(
    ("word", "slugs"),
    [
        ("checkpoint.every_epochs=1,2", ["every_epochs1", "every_epochs2"]),
        ("device=cpu,mps", ["cpu", "mps"]),
        ("device.threads=1,2", ["threads1", "threads2"]),
    ],
)
def test_swept_keys_that_change_no_result_make_jobs_of_their_own(word: str, slugs: list[str], sweep: FakeSweep) -> None:
    """Else one value would stand for all."""
    assert sweep([word, "sweep.name=s"]) == 0
    assert sweep.ran == slugs
    assert sweep([word, "sweep.name=s", "trainer.print_every=3"]) == 0
    assert len(sweep.executors) == 1


def test_an_unfinished_job_goes_on_in_todays_words(sweep: FakeSweep) -> None:
    def fail(config: dict[str, Any]) -> float:
        raise ValueError("no luck")

    sweep.loss = fail
    assert sweep(["optimizer=momentum", "seed=0,1", "sweep.name=s"]) == 3
    sweep.loss = lambda config: 0.1
    words = ["optimizer=sgd", "optimizer.momentum=0.9", "trainer.print_every=7", "device.threads=1"]
    assert sweep([*words, "seed=0,1", "sweep.name=s"]) == 0
    assert [task.config["trainer"]["print_every"] for task in sweep.executors[-1].tasks] == [7, 7]
    assert sweep.ran == ["seed0", "seed1"]
    assert {job.fixed[0] for job in sweep.folder.jobs.values()} == {"optimizer=sgd"}


def test_the_identity_in_a_file_is_not_believed(sweep: FakeSweep) -> None:
    """It may be of a dlrun that counted other keys."""
    assert sweep(["seed=0,1", "sweep.name=s"]) == 0
    path = sweep.folder.file
    text = path.read_text()
    for job in sweep.folder.jobs.values():
        text = text.replace(job.identity, "f" * 64)
    path.write_text(text)
    assert sweep(["seed=0,1", "trainer.print_every=3", "sweep.name=s"]) == 0
    assert len(sweep.executors) == 1

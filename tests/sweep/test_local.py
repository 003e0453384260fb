"""Sweeps with real worker processes: they crash, hang, are killed and stopped, and the rest goes on."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dlrun
from dlrun import cli
from dlrun.assembly import blame
from dlrun.config.config import Config
from dlrun.config.expand import expand
from dlrun.engine import threads
from dlrun.errors import ComponentError, ConfigError
from dlrun.run.build import build
from dlrun.store.failure import Failure
from dlrun.store.files import write_json
from dlrun.store.reading import read_json
from dlrun.sweep import manage, plan
from dlrun.sweep.executors import local
from dlrun.sweep.executors.base import Ended
from dlrun.sweep.executors.local import LocalExecutor
from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.plan import DryRunResult, kind_of
from dlrun.sweep.task import Task, check_job, load_job
from dlrun.sweep.trial import CLOSING_SECONDS, try_one_batch
from dlrun.workers.client import Child, Server, ServerDied
from tests.helpers.deadline import deadline, wait_for
from tests.helpers.processes import is_running
from tests.helpers.sweep_fakes import read_sweep, states

PLUGIN = Path(__file__).parents[1] / "helpers" / "sweep_plugin.py"
BAD = ["plugins=[bad.py]", "model=bad", "device=cpu"]
QUICK = [*BAD, "trainer=smoke"]
SLOW = [*BAD, "trainer.epochs=5", "trainer.batch_size=256", "model.seconds=0.02", "checkpoint.every_epochs=1"]
TIMING = ("epoch_seconds", "samples_per_second")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PLUGIN, "bad.py")


def metrics(path: Path) -> list[dict[str, str]]:
    """metrics.csv without its timing columns."""
    with open(path / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize("count", [12, pytest.param(60, marks=pytest.mark.faults)])
def test_nine_jobs_fail_in_nine_ways_and_the_others_finish(
    count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 1.0)
    numbers = ",".join(map(str, range(count - 1)))
    limit = round(deadline(8))
    words = ["-m", *QUICK, f"model.job={numbers},nonsense", "sweep.name=s", f"sweep.job_timeout={limit}", "--quiet"]
    assert cli.main(words) == 2  # the impossible one is named before anything trains
    assert "model.job=nonsense" in capsys.readouterr().err
    words.append("sweep.skip_invalid=true")
    assert cli.main(words) == 3
    printed = capsys.readouterr().out
    records = states(read_sweep(Path("outputs/sweeps/s")))
    failed = {slug: record for slug, record in records.items() if record.state == "failed"}
    causes = {
        "job1": ("component", "RuntimeError: the model says no"),
        "job2": ("signal", f"killed: signal 40 (SIGRTMIN+{40 - signal.SIGRTMIN})"),
        "job3": ("crash", "SIGSEGV"),
        "job4": ("crash", "exit code 9"),
        "job5": ("out_of_memory", "out of memory"),
        "job6": ("timeout", f"no end after {limit} s (sweep.job_timeout), in misbehave (bad.py, line "),
        "job7": ("timeout", f"no end after {limit} s (sweep.job_timeout)"),
        "job8": ("component", "KeyboardInterrupt: by the model"),
        "jobnonsense": ("input", "must be int"),
    }
    assert failed.keys() == causes.keys()
    for slug, (kind, cause) in causes.items():
        failure = failed[slug].failure
        assert failure is not None
        assert (failure.kind, cause in failure.message) == (kind, True)
        assert cause in printed
    with open("outputs/sweeps/s/results.csv", newline="") as file:
        assert {Path(row["path"]).name: row["kind"] for row in csv.DictReader(file) if row["kind"]} == {
            slug: kind for slug, (kind, _) in causes.items()
        }
    assert [record.state for record in records.values()].count("finished") == count - 9
    assert f"{count} jobs: {count - 9} finished, 9 failed (1 impossible)." in printed
    assert "ran out of memory" not in printed, "the sweep itself killed the job that had stopped"
    assert "dlrun 'plugins=[bad.py]' model=bad device=cpu trainer=smoke model.job=3" in printed
    said = read_json(Path("outputs/sweeps/s/jobs/job3/status.json"))
    assert (said["state"], "SIGSEGV" in said["error"]) == ("failed", True)

    Path("healed").touch()
    assert cli.main(words) == 3  # the impossible one is still there
    again = states(read_sweep(Path("outputs/sweeps/s")))
    assert {slug for slug, record in again.items() if record.attempts == 2} == causes.keys() - {"jobnonsense"}
    assert [record.state for record in again.values()].count("finished") == count - 1


# --- killed, stopped, gone on with ------------------------------------------------------------------------------------


WRAPPER = """
import sys
from dlrun.cli import main
from dlrun.run import preload
preload.TRAINING_MODULES = preload.TRAINING_MODULES[:2]  # figures are not looked at: their modules take seconds
code = main(sys.argv[1:])
assert "torch" not in sys.modules or "bad" in str(sys.argv)  # only a plug-in may bring it into this process
sys.exit(code)
"""


def begin(words: list[str]) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", WRAPPER, *words], stdout=subprocess.PIPE, text=True)


def jobs_that_run(path: Path) -> Iterator[tuple[Path, int]]:
    """Jobs that say that they run, and their processes."""
    for status in path.glob("jobs/*/status.json"):
        values = read_json(status)
        if values.get("state") == "running":
            yield status.parent, values["pid"]


@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize(("kills", "jobs"), [(1, 2), pytest.param(10, 48, marks=pytest.mark.faults)])
def test_a_sweep_that_is_killed_ends_as_if_nothing_had_happened(
    kills: int, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("outputs/sweeps/s")
    words = ["-m", *SLOW, f"seed=range({jobs})", "sweep.name=s"]
    draw = random.Random(0)
    hits = 0
    for _ in range(kills):
        dead = {pid for _, pid in jobs_that_run(path)}
        sweep = begin(words)
        wait_for(
            lambda dead=dead, sweep=sweep: {pid for _, pid in jobs_that_run(path)} - dead or sweep.poll() is not None
        )
        time.sleep(draw.uniform(0.0, 0.5))
        pids = [pid for _, pid in jobs_that_run(path)]
        hits += sweep.poll() is None
        sweep.kill()
        sweep.communicate()
        wait_for(lambda pids=pids: not any(is_running(pid) for pid in pids), 5.0)
    assert hits >= max(1, kills - 1)  # the last one may come when all is done
    assert cli.main([*words, "--quiet"]) == 0
    assert f"{jobs} jobs: {jobs} finished." in capsys.readouterr().out
    assert sorted(p.name for p in (path / "jobs").iterdir()) == sorted(f"seed{n}" for n in range(jobs))
    for seed in range(jobs):
        alone = dlrun.train([*SLOW, f"seed={seed}", "device.threads=1", "model.seconds=0", f"run.dir=alone{seed}"])
        assert metrics(path / "jobs" / f"seed{seed}") == metrics(alone.path)


@pytest.mark.usefixtures("warm_server")
def test_a_signal_stops_the_jobs_tidily_and_they_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    """The process that sweeps never imports torch, either (see WRAPPER)."""
    path = Path("outputs/sweeps/s")
    words = ["device=cpu", "trainer.epochs=100000", "trainer.eval_every=1000", "seed=0,1,2", "sweep.name=s"]
    sweep = begin(["-m", *words])
    wait_for(lambda: any((job / "metrics.csv").exists() for job, _ in jobs_that_run(path)))
    sweep.send_signal(signal.SIGINT)
    printed, _ = sweep.communicate(timeout=deadline(60))
    assert sweep.returncode == 130
    assert "Stopped by SIGINT" in printed
    assert f"dlrun sweep retry {path}" in printed
    left = {slug for slug, record in states(read_sweep(path)).items() if record.state == "waiting"}
    assert left
    stopped = [job for job in left if (path / "jobs" / job / "checkpoints" / "last.pt").exists()]
    assert stopped
    assert read_json(path / "jobs" / stopped[0] / "status.json")["state"] == "interrupted"

    log = path / "jobs" / stopped[0] / "train.log"

    def look_and_stop() -> None:
        wait_for(lambda: "resuming from" in log.read_text())
        assert manage.status_command(str(path)) == 0
        assert manage.stop_command(str(path)) == 0

    with ThreadPoolExecutor() as beside:
        stopping = beside.submit(look_and_stop)
        assert cli.main(["sweep", "retry", str(path)]) == 143
        stopping.result()
    assert f"run by process {os.getpid()}" in capsys.readouterr().out


@pytest.mark.usefixtures("warm_server")
def test_jobs_that_hang_end_at_a_second_interrupt() -> None:
    """That all jobs end with the process that sweeps is the server's part (tests/workers)."""
    path = Path("outputs/sweeps/s")
    pids: list[int] = []

    def interrupt_twice() -> None:
        wait_for(lambda: list(jobs_that_run(path)))
        pids.extend(pid for _, pid in jobs_that_run(path))
        for _ in range(2):
            time.sleep(0.5)  # until it hangs
            assert is_running(pids[0])
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor() as beside:
        interrupted = beside.submit(interrupt_twice)
        assert cli.main(["-m", *QUICK, "model.kind=hang", "sweep.name=s"]) == 130
        interrupted.result()
    assert not is_running(pids[0])
    assert [record.state for record in states(read_sweep(path)).values()] == ["waiting"]


def test_the_first_line_of_a_failure_while_building_says_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blame, "from_plugin", lambda *_: True)
    with pytest.raises(ComponentError) as told, blame.explained(dlrun.compose(["device=cpu"])):
        raise ValueError("boom\nand more")
    assert str(told.value).splitlines()[0] == "an exception in a component of yours: ValueError: boom"


# --- dry run ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_server")
def test_a_dry_run_tries_every_job_and_trains_none(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", *QUICK, "model.kind=good,impossible,raise,segfault", "sweep.dry_run=true"]
    assert cli.main(words) == 2
    printed = capsys.readouterr().out
    assert "impossible: model.kind=impossible\n  model.kind: this one cannot be built." in printed
    assert "would fail: model.kind=raise\n  RuntimeError: the model says no" in printed
    assert "would fail: model.kind=segfault\n  crashed (segmentation fault)" in printed
    assert "1 of 4 jobs are ready: about" in printed
    assert not Path("outputs").exists()


def test_what_only_building_shows_is_told_before_anything_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One job of each kind is built: here the first of the impossible ones."""

    def tried_here(executor: Any, jobs: list[FrozenJob], plugins: Any, check: str, seconds: float) -> Any:
        for job in jobs:
            try:
                result = check_job(Task(job.slug, "", "", job.values, check=check))
            except ConfigError as error:
                result = Failure(error.kind, str(error), exit_code=2).to_values() | {"impossible": True}
            yield job, Ended(job.slug, 0), result, Path()

    monkeypatch.setattr(local, "Server", FakeServer)
    monkeypatch.setattr(plan, "tried_on", tried_here)
    assert cli.main(["-m", *QUICK, "model.kind=good,impossible", "seed=0,1,2"]) == 2
    told = "model.kind=impossible seed=0: model.kind: this one cannot be built. (and 2 more that differ"
    assert told in capsys.readouterr().err
    assert list(Path("outputs/sweeps").iterdir()) == []
    job = FrozenJob("a", (), {"seed": 1, "optimizer": "adam", "freeze": ["x"]}, (), {})
    assert kind_of(job) == kind_of(replace(job, swept=job.swept | {"seed": 2}))
    assert kind_of(job) != kind_of(replace(job, swept=job.swept | {"freeze": ["y"]}))


class SlowExecutor:
    """Its workers build all but what has `hang` in its name; that goes on until it is killed."""

    slots, timeout = 2, None

    def __init__(self) -> None:
        self.children: dict[str, Any] = {}

    def start(self, task: Task) -> None:
        self.children[task.slug] = local.Worker(Child(task.slug, pid=1))
        if "hang" not in task.slug:
            write_json(Path(f"{task.stem}.result.json"), {"code": 0})

    def wait(self, seconds: float) -> list[Ended]:
        ended = [slug for slug, child in self.children.items() if "hang" not in slug or child.child.pid < 0]
        return [Ended(slug, 0, seconds=float(bool(self.children.pop(slug)))) for slug in ended]

    def kill(self) -> None:
        for child in self.children.values():
            child.child.pid = -1


def test_a_model_that_hangs_while_building_does_not_hold_the_sweep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(plan, "NOTE_SECONDS", 0.05)
    config = Config(expand(["seed=0,1"]).jobs[0].config.to_dict())  # type: ignore[union-attr]
    jobs = [
        FrozenJob(name, (), {"model": name}, (f"model={name}",), config.to_dict())
        for name in ("a", "hang1", "hang2", "hang3")
    ]
    said: list[str] = []
    executor = SlowExecutor()
    plan.check_kinds(executor, jobs, [], said.append)  # type: ignore[arg-type]
    assert said[0].startswith("building one job of each kind first")
    assert said[1].endswith("so not checked: model=hang1 and 2 more kinds of jobs")
    assert not executor.children


def test_what_a_dry_run_found_decides_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(jobs: list[FrozenJob], settings: Any, plugins: Any) -> list[DryRunResult]:
        failures = [None, Failure("input", "cannot be built", exit_code=2), Failure("crash", "crashed")]
        return [DryRunResult(job, failure=failures[job.config.seed], impossible=job.config.seed == 1) for job in jobs]

    monkeypatch.setattr(plan, "try_jobs", tried)
    words = ["-m", "device=cpu", "sweep.dry_run=true", "--quiet"]
    assert cli.main([*words, "seed=0"]) == 0
    assert cli.main([*words, "seed=0,1"]) == 2
    assert cli.main([*words, "seed=0,1", "sweep.skip_invalid=true"]) == 0
    assert cli.main([*words, "seed=0,1,2", "sweep.skip_invalid=true"]) == 3


def test_the_estimate_counts_what_is_not_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Building, files and figures of every job, the beginning and the end of the sweep; all trials of a search."""
    config = dlrun.compose(["device=cpu", "trainer=smoke"])
    assert try_one_batch(config)["seconds"] > CLOSING_SECONDS
    monkeypatch.setattr(
        plan, "try_jobs", lambda jobs, settings, plugins: [DryRunResult(job, seconds=2.0) for job in jobs]
    )
    words = ["-m", "device=cpu", "sweep.dry_run=true", "sweep.workers=2"]
    for more, seconds in (
        (["seed=0,1,2,3"], "7.0 s"),
        (["optimizer.lr=interval(0.1,0.2)", "sweep.search=random"], "23.0 s"),
        (["trainer.log_every=1,2", "seed=0,1", "sweep.search=random"], "7.0 s"),  # no more combinations, of two seeds
    ):
        assert cli.main([*words, *more]) == 0
        assert f": about {seconds} with 2 at a time" in capsys.readouterr().out


# --- pruning ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_server")
def test_a_hopeless_job_is_pruned_while_it_runs() -> None:
    words = [
        *BAD,
        "device.threads=1",
        "trainer.epochs=6",
        "optimizer=sgd",
        "trainer.eval_every=1",
        "sweep.name=s",
        "sweep.workers=1",
    ]
    rates = "optimizer.lr=0.1,0.11,0.12,0.13,0.14,1e-9"
    assert cli.main(["-m", *words, rates, "sweep.pruner=median", "--quiet"]) == 0
    records = states(read_sweep(Path("outputs/sweeps/s")))
    assert [record.state for record in records.values()][:5] == ["finished"] * 5
    assert records["lr1e-09"].state == "pruned"
    assert len(metrics(Path("outputs/sweeps/s/jobs/lr1e-09"))) < 6


# --- sharing the machine ----------------------------------------------------------------------------------------------


class FakeServer(Server):
    """Notes what it is asked for; its machine has four GPUs."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self.children, self.processes, self.served = {}, {}, True
        self.tasks: list[dict[str, Any]] = []

    def request(self, **request: Any) -> None:
        self.tasks += [request["arguments"]["values"]] if "values" in request["arguments"] else []

    def wait(self, seconds: float) -> list[Child]:
        return [self.end("gpus", 4)] if "gpus" in self.children else []

    def end(self, name: str, code: int) -> Child:
        self.handle({"started": name, "pid": 1 << 30})
        child = self.handle({"exited": 1 << 30, "code": code, "memory_mib": 1.0, "seconds": 1.0})
        assert child is not None
        return child

    def close(self) -> None: ...


def executor(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> tuple[LocalExecutor, FakeServer]:
    server = FakeServer()
    monkeypatch.setattr(local, "Server", lambda modules: server)
    monkeypatch.setattr(local, "processors", lambda: 8)
    config: Config = expand(["seed=0,1", *words]).config
    return LocalExecutor(config.section("sweep"), [config]), server


def task(slug: str, device: str) -> Task:
    return Task(slug=slug, path="", state="", config={"device": {"name": device}}, plugins=["mine.py"])


def start(some: LocalExecutor, count: int, device: str = "auto") -> None:
    for number in range(count):
        some.start(task(f"j{number}", device))


def test_a_server_that_dies_before_it_has_counted_the_gpus_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(FakeServer, "close", lambda self: closed.append(self))
    monkeypatch.setattr(FakeServer, "wait", lambda *_: died())
    with pytest.raises(ServerDied):
        executor(monkeypatch, [])
    assert closed


def died() -> list[Child]:
    raise ServerDied("killed")


def test_processors_are_divided_fairly(monkeypatch: pytest.MonkeyPatch) -> None:
    some, server = executor(monkeypatch, ["device=cpu", "sweep.workers=3"])
    start(some, 3, "cpu")
    assert some.slots == 3
    assert [task["threads"] for task in server.tasks] == [2, 2, 2]
    assert [task["environment"] for task in server.tasks] == [{}, {}, {}]
    assert executor(monkeypatch, ["device=cpu"])[0].slots == 8


@pytest.mark.parametrize(
    ("share", "words", "number"),
    [(1, [], 1), (2, [], 2), (8, [], 3), (None, [], 3), (2, ["device.threads=4"], 4), (2, ["device.threads=null"], 2)],
)
def test_a_job_computes_with_its_share_unless_it_is_told_a_number(
    share: int | None, words: list[str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is large enough for several threads: 64 rows times 64 pixels times 1300."""
    config = dlrun.compose(["device=cpu", "model.hidden=[1300]", "trainer.batch_size=64", *words])
    monkeypatch.setattr(threads, "processors", lambda: 3)
    torch.set_num_threads(3)
    build(load_job(Task("a", "", "", config.to_dict(), threads=share)))
    assert torch.get_num_threads() == number


def test_gpus_are_taken_in_turn_among_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5")
    some, server = executor(monkeypatch, ["sweep.per_gpu=2"])
    assert some.slots == 6
    start(some, 6)
    assert [task["environment"]["CUDA_VISIBLE_DEVICES"] for task in server.tasks] == ["2", "3", "5"] * 2
    assert some.ending(server.end("j1", 0)) == Ended("j1", 0, 1.0, "", 1.0)
    some.start(task("j6", "cuda"))
    assert server.tasks[-1]["environment"] == {"CUDA_VISIBLE_DEVICES": "3"}
    some.start(task("j7", "cuda:1"))
    assert server.tasks[-1]["environment"] == {}  # it asked for a certain one


def test_workers_that_cannot_start_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "no-python"
    script.write_text("#!/bin/sh\necho 'libtorch.so: cannot open shared object file' >&2\nexit 3\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    assert cli.main(["-m", "seed=0,1", "device=cpu"]) == 2
    said = capsys.readouterr().err
    assert "the worker processes cannot be started:" in said
    assert "libtorch.so: cannot open shared object file" in said


def test_the_server_that_dies_is_replaced_and_its_jobs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    some, server = executor(monkeypatch, ["device=cpu"])
    start(some, 2, "cpu")

    def dead(seconds: float) -> list[Child]:
        raise ServerDied("killed")

    monkeypatch.setattr(server, "wait", dead)
    assert [(ended.slug, ended.code) for ended in some.wait(0)] == [("j0", None), ("j1", None)]
    assert some.children == {}
    assert some.starts == 2

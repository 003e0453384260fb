"""Jobs that run one after another in one process: they are as if each had a process of its own."""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dlrun
from dlrun import cli
from dlrun.components.registry import DATASETS, MODELS, OPTIMIZERS, SCHEDULERS
from dlrun.run import environment
from dlrun.store.checkpoint import read_checkpoint
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir
from dlrun.sweep.afresh import note_state
from dlrun.sweep.executors import local
from dlrun.sweep.executors.base import Ended
from dlrun.sweep.executors.local import LocalExecutor, may_share
from dlrun.sweep.task import Task
from tests.helpers.deadline import deadline, wait_for
from tests.helpers.sweep_fakes import read_sweep, states

SHORT = ["device=cpu", "trainer.epochs=2", "trainer.max_batches=2", "trainer.batch_size=8"]
TIMING = ("epoch_seconds", "samples_per_second")
STEPS = ("rnn", "lstm", "gru", "rnn_cell")
DATA = {
    **{name: ["dataset=hello"] for name in STEPS},
    "fusion": ["dataset=scenes"],
    "autoencoder": ["dataset=mnist", "dataset.task=reconstruction", "loss=mse"],
    "torchvision": ["model.arch=shufflenet_v2_x0_5"],
}
ELSEWHERE = {"names", "table", "image_folder"}  # they read files that this test does not have
MODEL_JOBS = {name: [f"model={name}", *DATA.get(name, [])] for name in MODELS.builtin}
EVERY_JOB = [
    *MODEL_JOBS.values(),
    *(["model.hidden=[8]", f"optimizer={name}"] for name in OPTIMIZERS.builtin),
    *(["model.hidden=[8]", f"scheduler={name}"] for name in SCHEDULERS.builtin),
    *([f"dataset={name}", "model=mlp"] for name in DATASETS.builtin if name not in ELSEWHERE | {"hello", "scenes"}),
    ["device.deterministic=true"],
    ["device.threads=2"],
    ["device.precision=bf16"],
    ["device.fast=false", "trainer.detect_anomaly=true", "model.dropout=0.5"],
]
SOME_JOBS = [
    *(MODEL_JOBS[name] for name in ("mlp", "cnn", "gru")),
    *(["model.hidden=[8]", f"optimizer={name}"] for name in ("sgd", "lbfgs")),
    ["device.threads=2", "model.dropout=0.5"],
]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "MOST_SECONDS", float("inf"))  # but on a busy machine


def job(words: Sequence[str], folder: Path, name: str) -> Task:
    """The task of a run, whose files lie in `folder`."""
    folder.mkdir(exist_ok=True)
    root = {"DLRUN_DATA": os.environ.get("DLRUN_DATA")}  # the server has started without
    config = dlrun.compose([*SHORT, *words]).to_dict()
    return Task(name, str(folder / name), str(folder), config, threads=1, environment=root)


def run_all(tasks: Sequence[Task]) -> list[Ended]:
    """Run tasks one after another with a local executor."""
    executor = LocalExecutor({"workers": 1, "job_timeout": None, "per_gpu": 1}, [])
    ended: list[Ended] = []
    for number, task in enumerate(tasks, start=1):
        executor.start(task)
        while len(ended) < number:
            ended += executor.wait(1.0)
    executor.close()
    return ended


def result(path: Path) -> tuple[list[dict[str, str]], dict[str, Tensor]]:
    """The measured values of each epoch, and the weights."""
    with open(path / "metrics.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]
    return rows, read_checkpoint(RunDir(path).last)["model"]


def pid_of(path: Path) -> int:
    return int(read_json(path / "status.json")["pid"])


# --- equal bits -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize("jobs", [SOME_JOBS, pytest.param(EVERY_JOB, marks=pytest.mark.slow)], ids=["some", "every"])
def test_jobs_alone_together_and_reversed_are_equal_to_the_bit(
    jobs: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_root: Path
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(mnist_root))

    def run(way: str, most: int, step: int = 1) -> int:
        monkeypatch.setattr(local, "MOST_JOBS", most)
        names = [str(number) for number in range(len(jobs))]
        tasks = [job(words, tmp_path / way, name) for words, name in zip(jobs, names, strict=True)]
        ended = run_all(tasks[::step])
        logs = {one.slug: (tmp_path / way / f"{one.slug}.log").read_text() for one in ended if one.code != 0}
        assert logs == {}
        return len({pid_of(tmp_path / way / name) for name in names})

    assert run("alone", 1) == len(jobs)
    assert run("together", 1000) == 1
    assert run("reversed", 1000, -1) == 1
    for number, words in enumerate(jobs):
        rows, weights = result(tmp_path / "alone" / str(number))
        for way in ("together", "reversed"):
            its_rows, its_weights = result(tmp_path / way / str(number))
            assert its_rows == rows, (way, words)
            assert all(torch.equal(its_weights[key], value) for key, value in weights.items()), (way, words)


# --- what a process restores ------------------------------------------------------------------------------------------


def draws() -> tuple[object, ...]:
    return random.random(), float(np.random.rand()), float(torch.rand(1)), os.getcwd(), os.environ.get("A")


def test_what_a_job_changes_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "1")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(  # torch's own imports the compiler, for seconds
        torch, "use_deterministic_algorithms", lambda on: torch._C._set_deterministic_algorithms(on, warn_only=False)
    )
    with warnings.catch_warnings():
        restore = note_state()
        before, filters, threads = draws(), list(warnings.filters), torch.get_num_threads()
        (tmp_path / "there").mkdir()
        os.chdir("there")
        monkeypatch.setenv("A", "2")
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        warnings.simplefilter("ignore")
        warnings.onceregistry["a"] = 1  # type: ignore[attr-defined]
        torch.set_num_threads(threads + 1)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        assert restore()
        assert draws() == before
        assert list(warnings.filters) == filters
        assert warnings.onceregistry == {}  # type: ignore[attr-defined]
        assert torch.get_num_threads() == threads
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def begin_a_thread(undo: list[Callable[[], object]]) -> None:
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    undo += [thread.join, event.set]


def handle_a_signal(undo: list[Callable[[], object]]) -> None:
    old = signal.signal(signal.SIGUSR2, lambda *_: None)
    undo.append(lambda: signal.signal(signal.SIGUSR2, old))


def let_numpy_raise(undo: list[Callable[[], object]]) -> None:
    old = np.seterr(all="raise")
    undo.append(lambda: np.seterr(**old))


def compute_in_float64(undo: list[Callable[[], object]]) -> None:
    torch.set_default_dtype(torch.float64)
    undo.append(lambda: torch.set_default_dtype(torch.float32))


def make_no_gradients(undo: list[Callable[[], object]]) -> None:
    torch.set_grad_enabled(False)
    undo.append(lambda: torch.set_grad_enabled(True))


def import_from_elsewhere(undo: list[Callable[[], object]]) -> None:
    sys.path.append("a")
    undo.append(lambda: sys.path.remove("a"))


CHANGES = [
    begin_a_thread,
    handle_a_signal,
    let_numpy_raise,
    compute_in_float64,
    make_no_gradients,
    import_from_elsewhere,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_process_in_which_something_else_has_changed_takes_no_more_jobs(
    change: Callable[[list[Callable[[], object]]], None],
) -> None:
    undo: list[Callable[[], object]] = []
    restore = note_state()
    change(undo)
    try:
        assert not restore()
    finally:
        while undo:
            undo.pop()()
    assert restore()


def test_versions_and_git_are_read_once_for_the_processes_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "KEPT", {})
    asked: list[str] = []
    monkeypatch.setattr(environment, "git_state", lambda: asked.append("git"))
    monkeypatch.setattr(environment, "package_version", lambda name: asked.append(name))
    environment.keep_facts()
    count = len(asked)
    assert environment.environment_facts([])["git"] is None
    assert environment.environment_facts([])["versions"] == {}
    assert asked.count("git") == 1
    monkeypatch.chdir("/")
    environment.environment_facts([])
    assert asked.count("git") == 2, "the state of another folder"
    assert len(asked) >= count


# --- which jobs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shares"),
    [
        ([], True),
        (["device=auto"], sys.platform != "darwin"),
        (["device=cuda"], False),
        (["logger=jsonl"], True),
        (["logger=wandb"], False),
        (["trainer.profile=true"], False),
        (["device.compile=true"], False),
    ],
)
def test_jobs_with_built_in_components_on_the_cpu_share_a_process(words: list[str], shares: bool) -> None:
    config = dlrun.compose(["device=cpu", *words]).to_dict()
    assert may_share(Task("a", "", "", config)) is shares
    assert not may_share(Task("a", "", "", config, plugins=["mine.py"]))
    assert not may_share(Task("a", "", "", config | {"plugins": ["mine.py"]}))


@pytest.mark.usefixtures("warm_server")
def test_a_process_takes_only_so_many_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_JOBS", 2)
    ended = run_all([job([f"seed={n}"], tmp_path / "a", str(n)) for n in range(3)])
    assert [one.code for one in ended] == [0, 0, 0]
    pids = [pid_of(tmp_path / "a" / str(n)) for n in range(3)]
    assert pids[0] == pids[1] != pids[2]
    monkeypatch.setattr(local, "MOST_SECONDS", 0.0)
    run_all([job([f"seed={n}"], tmp_path / "b", str(n)) for n in range(2)])
    assert pid_of(tmp_path / "b" / "0") != pid_of(tmp_path / "b" / "1")


@pytest.mark.slow
@pytest.mark.usefixtures("warm_server")
def test_a_process_that_has_had_workers_of_a_data_loader_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_root: Path
) -> None:
    """Torch handles their ends by a signal handler, which it installs once in a process."""
    monkeypatch.setenv("DLRUN_DATA", str(mnist_root))
    words = ["dataset=mnist", "dataset.in_memory=false", "dataset.workers=1"]
    ended = run_all([job([*words, f"seed={n}"], tmp_path / "a", str(n)) for n in range(2)])
    assert [one.code for one in ended] == [0, 0]
    assert pid_of(tmp_path / "a" / "0") != pid_of(tmp_path / "a" / "1")


@pytest.mark.usefixtures("warm_server")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of a process cannot be reset")
def test_the_peak_memory_of_a_job_is_its_own(tmp_path: Path) -> None:
    large, small = ["model.hidden=[3000,3000]", "optimizer=sgd"], ["model.hidden=[8]"]
    ended = run_all([job(words, tmp_path / "a", str(n)) for n, words in enumerate([small, large, small])])
    assert pid_of(tmp_path / "a" / "0") == pid_of(tmp_path / "a" / "2")
    assert ended[1].memory_mib > ended[0].memory_mib + 60
    assert ended[2].memory_mib < ended[0].memory_mib + 40
    stored = read_json(tmp_path / "a" / "2" / "summary.json")["times"]["peak_memory_mib"]
    assert stored < ended[0].memory_mib + 40


# --- failures cost one job --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize("way", ["kill", "segfault", "stop", pytest.param("hang", marks=pytest.mark.slow)])
def test_a_job_that_dies_between_others_costs_itself_alone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("outputs/sweeps/s")
    monkeypatch.setattr(local, "GRACE", 1.0)
    limit = round(deadline(3)) if way == "hang" else 600
    words = ["-m", "device=cpu", "trainer.epochs=1,1000000,2", "trainer.eval_every=100000", "sweep.name=s"]
    words += ["sweep.workers=1", f"sweep.job_timeout={limit}"]
    numbers = {"kill": signal.SIGKILL, "segfault": signal.SIGSEGV, "stop": signal.SIGTERM, "hang": signal.SIGSTOP}

    def end_the_second() -> None:
        wait_for((path / "jobs/epochs1000000/metrics.csv").exists)
        os.kill(pid_of(path / "jobs/epochs1000000"), numbers[way])

    with ThreadPoolExecutor() as beside:
        ending = beside.submit(end_the_second)
        assert cli.main([*words, "--quiet"]) == 3
        ending.result()
    records = states(read_sweep(path))
    assert [record.state for record in records.values()] == ["finished", "failed", "finished"]
    assert [record.attempts for record in records.values()] == [1, 1, 1]
    failure = records["epochs1000000"].failure
    assert failure is not None
    assert failure.kind == {"kill": "signal", "segfault": "crash", "stop": "signal", "hang": "timeout"}[way]
    pids = [pid_of(path / "jobs" / name) for name in records]
    assert pids[0] == pids[1] != pids[2]

"""What the run says of its own speed after the first epoch, and only when something is wasted."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dlrun.engine.loop import EpochRecord
from dlrun.run import doctor, waiting
from dlrun.run.doctor import Doctor, advice, answer, ask_gpu, gpu_id


def session(
    *,
    engine: tuple[str, ...] = ("resident",),
    kind: str = "image",
    compile: bool = False,
    device: str = "cpu",
    refused: str = "",
    max_steps: int | None = None,
    precision: str = "fp32",
    epochs: int = 10,
    eval_every: int = 1,
    model: nn.Module | None = None,
    dataset: tuple[str, ...] = ("in_memory", "workers"),
    augmented: bool = False,
) -> Any:
    train = SimpleNamespace(augment=str if augmented else None)
    return SimpleNamespace(
        batches={"train": range(20)},
        components=SimpleNamespace(engine=list(engine), data=SimpleNamespace(train=train)),
        state=SimpleNamespace(
            spec=SimpleNamespace(input_kind=kind), device=torch.device(device), model=model or nn.Linear(2, 2)
        ),
        config=SimpleNamespace(
            device=SimpleNamespace(compile=compile, precision=precision),
            section=lambda name: dict.fromkeys(dataset, "auto"),
        ),
        plan=SimpleNamespace(
            epochs=epochs,
            eval_every=eval_every,
            step=SimpleNamespace(refused=refused),
            max_steps=max_steps,
            accumulate=1,
        ),
    )


def record(train: float, wait: float, evaluation: float, epoch: int = 1) -> EpochRecord:
    row = {"epoch": epoch, "step": 20 * epoch}
    return EpochRecord(row, False, True, False, {"train": train, "wait": wait, "eval": evaluation})


def test_waiting_for_data_is_said_with_its_share_and_a_remedy() -> None:
    (said,) = advice(record(10.0, 6.1, 0.1), session(engine=("dataloader", "fused")))
    assert "61%" in said
    assert said.endswith("try more dataset.workers, or dataset.in_memory=true if memory allows")


@pytest.mark.parametrize(
    ("augmented", "dataset", "remedy"),
    [
        (True, ("in_memory", "workers"), ": try more dataset.workers"),
        (False, ("workers",), ": try more dataset.workers"),
        (True, (), ""),
    ],
)
def test_only_a_remedy_that_can_help_is_named(augmented: bool, dataset: tuple[str, ...], remedy: str) -> None:
    """Augmented rows are made by DataLoader whatever dataset.in_memory says; a plug-in may have neither key."""
    shown = session(engine=("dataloader", "fused"), augmented=augmented, dataset=dataset)
    (said,) = advice(record(10.0, 6.1, 0.1), shown)
    assert said == f"data loading takes 61% of the training time{remedy}"


def test_evaluation_longer_than_training_is_said() -> None:
    (said,) = advice(record(2.0, 0.0, 5.0), session())
    assert "2.5 times" in said
    assert "trainer.eval_every" in said


def test_evaluation_is_judged_by_the_training_between_two_of_them() -> None:
    assert advice(record(2.0, 0.0, 5.0, epoch=3), session(eval_every=3)) == []  # 6 s of training to 5
    (said,) = advice(record(2.0, 0.0, 9.0, epoch=3), session(eval_every=3))
    assert "1.5 times" in said


@pytest.mark.parametrize("settings", [{"epochs": 1}, {"epochs": 2}, {"max_steps": 40}, {"eval_every": 20}])
def test_an_evaluation_that_no_setting_would_save_is_not_held_against_a_run(settings: dict[str, int]) -> None:
    """The one after the last epoch is made in any case."""
    assert advice(record(2.0, 0.0, 50.0), session(**settings)) == []


def test_a_run_long_enough_to_repay_compiling_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_compiler", lambda: True)
    long = record(60.0, 0.0, 1.0)
    assert "device.compile=true" in "".join(advice(long, session()))
    assert advice(long, session(compile=True)) == []
    assert advice(long, session(kind="text")) == []
    assert advice(long, session(precision="fp16")) == []
    assert advice(long, session(max_steps=60)) == []  # two more epochs
    assert advice(record(60.0, 0.0, 1.0, epoch=9), session()) == []  # resumed: one more
    assert advice(record(2.0, 0.0, 0.1), session()) == []


def test_compiling_is_not_advised_where_it_would_be_slower() -> None:
    long = record(60.0, 0.0, 1.0)
    assert advice(long, session(engine=("resident", "fused", "channels_last"))) == []
    assert advice(long, session(engine=("resident", "cuda_graph"), device="cuda")) == []
    assert advice(long, session(model=nn.Sequential(nn.Conv2d(1, 1, 3)))) == []
    assert advice(long, session(engine=("resident", "lean"), device="cuda")) != []


def test_compiling_is_not_advised_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = record(60.0, 0.0, 1.0)
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.touch(mode=0o755)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(compiler.parent))
    assert advice(long, session()) != []
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert advice(long, session()) == []
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert advice(long, session()) == []
    assert advice(long, session(device="cuda")) != []


def test_a_healthy_short_run_is_told_nothing() -> None:
    assert advice(record(0.2, 0.19, 0.1), session()) == []


def test_a_step_that_cannot_be_recorded_is_told_with_the_reason() -> None:
    (said,) = advice(record(0.2, 0.0, 0.1), session(refused="operation not permitted"))
    assert "CUDA graph (operation not permitted)" in said


@pytest.mark.parametrize(("script", "told"), [("echo 12", True), ("echo 80", False), ("echo '[N/A]'", False)])
def test_an_idle_gpu_is_told_an_epoch_later(
    script: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for nvidia-smi that notes what it was asked."""
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    properties = SimpleNamespace(uuid="1-2-3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    watched = Doctor(session(device="cuda:1"))
    assert watched.after(record(2.0, 0.0, 0.1)) == []
    assert watched.asked is not None
    watched.asked.wait()
    assert "--id=GPU-1-2-3 " in (tmp_path / "asked").read_text()
    line = "the GPU is 12 % busy: use device=cpu or a larger trainer.batch_size"
    assert watched.after(record(2.0, 0.0, 0.1, epoch=2)) == ([line] if told else [])
    assert watched.after(record(2.0, 0.0, 0.1, epoch=3)) == []
    on_cpu = Doctor(session())
    on_cpu.after(record(2.0, 0.0, 0.1))
    assert on_cpu.asked is None


def test_nvidia_smi_does_not_outlive_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(doctor, "ask_gpu", lambda _: process)
    watched = Doctor(session(device="cuda"))
    watched.after(record(2.0, 0.0, 0.1))
    watched.close()
    assert process.returncode == -signal.SIGKILL
    watched.close()


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no nvidia-smi")
def test_a_gpu_says_how_busy_it_is() -> None:
    """Under the name that nvidia-smi knows it by; a part of a GPU (MIG) has no answer."""
    device = torch.device("cuda")
    query = ["nvidia-smi", "--query-gpu=uuid,utilization.gpu", "--format=csv,noheader,nounits"]
    known = dict(line.split(", ") for line in subprocess.check_output(query, text=True).splitlines())
    asked = ask_gpu(device)
    assert asked is not None
    busy = answer(asked)
    if known[gpu_id(device)].isdecimal():
        assert busy in range(101)
    else:
        assert busy is None


@pytest.mark.parametrize(
    ("threads", "waited", "device", "told"),
    [(2, 900, "cpu", True), (2, 10, "cpu", False), (1, 900, "cpu", False), (2, 900, "cuda:1", False)],
)
def test_threads_that_wait_for_processors_are_told_once(
    threads: int, waited: int, device: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With files in place of Linux's: nanoseconds of computing and of waiting, of each thread."""
    monkeypatch.setattr(waiting, "TASKS", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    note(tmp_path, "1", 5_000, 9_000_000)  # before training
    watched = Doctor(session(device=device))
    assert watched.on_threads(record(0.6, 0.0, 0.1)) == []  # too little has been trained to tell
    note(tmp_path, "1", 5_000 + 100, 9_000_000 + waited)
    note(tmp_path, "2", 100, waited)
    share = f"{waited / (waited + 100):.0%}"
    line = f"the 2 threads wait {share} of their time for busy processors: device.threads=1 is faster on a machine as "
    assert watched.on_threads(record(0.6, 0.0, 0.1, epoch=2)) == ([f"{line}busy as this"] if told else [])
    assert watched.on_threads(record(0.6, 0.0, 0.1, epoch=3)) == []


def test_nothing_is_told_of_threads_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "schedstat").write_text("nothing\n")
    for folder in (tmp_path / "none", tmp_path):
        monkeypatch.setattr(waiting, "TASKS", folder)
        assert waiting.ThreadTimes().waiting() == 0.0


@pytest.mark.skipif(not waiting.scheduled(), reason="the system does not say")
def test_the_system_tells_how_long_threads_compute() -> None:
    times = waiting.scheduled()
    sum(range(10**6))
    assert sum(on for on, _ in waiting.scheduled().values()) > sum(on for on, _ in times.values()) > 0


def note(folder: Path, thread: str, computed: int, waited: int) -> None:
    (folder / thread).mkdir(exist_ok=True)
    (folder / thread / "schedstat").write_text(f"{computed} {waited} 1\n")

"""What the run says of its own speed after the first epoch, and only when something is wasted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlrun.engine.loop import EpochRecord
from dlrun.run import doctor
from dlrun.run.doctor import advice


def session(
    *,
    engine: tuple[str, ...] = ("resident",),
    kind: str = "image",
    compile: bool = False,
    device: str = "cpu",
    refused: str = "",
) -> Any:
    return SimpleNamespace(
        built=SimpleNamespace(engine=list(engine)),
        state=SimpleNamespace(spec=SimpleNamespace(input_kind=kind), device=torch.device(device)),
        config=SimpleNamespace(device=SimpleNamespace(compile=compile)),
        plan=SimpleNamespace(epochs=10, step=SimpleNamespace(refused=refused)),
    )


def record(train: float, wait: float, evaluation: float) -> EpochRecord:
    return EpochRecord({}, False, True, False, {"train": train, "wait": wait, "eval": evaluation})


def test_waiting_for_data_is_said_with_its_share_and_a_remedy() -> None:
    (said,) = advice(record(10.0, 6.1, 0.1), session(engine=("dataloader", "fused")))
    assert "61%" in said
    assert "dataset.in_memory=true" in said


def test_evaluation_longer_than_training_is_said() -> None:
    (said,) = advice(record(2.0, 0.0, 5.0), session())
    assert "2.5 times" in said
    assert "trainer.eval_every" in said


def test_a_run_long_enough_to_repay_compiling_is_told_so() -> None:
    long = record(60.0, 0.0, 1.0)
    assert "device.compile=true" in "".join(advice(long, session()))
    assert advice(long, session(compile=True)) == []
    assert advice(long, session(kind="text")) == []
    assert advice(record(2.0, 0.0, 0.1), session()) == []


def test_a_healthy_short_run_is_told_nothing() -> None:
    assert advice(record(0.2, 0.19, 0.1), session()) == []


def test_a_step_that_cannot_be_recorded_is_told_with_the_reason() -> None:
    (said,) = advice(record(0.2, 0.0, 0.1), session(refused="operation not permitted"))
    assert "CUDA graph (operation not permitted)" in said


@pytest.mark.parametrize(("script", "busy"), [("echo 12", 12), ("echo '[N/A]'", None), ("exit 9", None)])
def test_an_idle_gpu_is_told(
    script: str, busy: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for nvidia-smi that notes what it was asked."""
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    properties = SimpleNamespace(uuid="1-2-3")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert doctor.gpu_busy(torch.device("cpu")) is None
    assert doctor.gpu_busy(torch.device("cuda:1")) == busy
    assert "--id=GPU-1-2-3 " in (tmp_path / "asked").read_text()
    said = "".join(advice(record(2.0, 0.0, 0.1), session(device="cuda:1")))
    assert ("the GPU is 12 % busy: use device=cpu or a larger trainer.batch_size" in said) == (busy == 12)


@pytest.mark.gpu
def test_a_gpu_says_how_busy_it_is() -> None:
    busy = doctor.gpu_busy(torch.device("cuda"))
    assert busy is None or 0 <= busy <= 100

"""The throughput doctor: after the first epoch, one line on where the time goes, if something is wasted."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import torch

from dlrun.engine.loop import EpochRecord
from dlrun.run.screen import duration

LONG = 300.0  # seconds of training that repay compiling the step several times over
WASTE = 0.4  # share of the training time spent waiting for batches that is worth a word
IDLE = 30  # percent: a GPU that is busy for less wants more work at a time
ASKING = 5.0  # seconds that nvidia-smi may take


def advice(record: EpochRecord, session: Any) -> list[str]:
    """The lines to print after an epoch: what the engine could not do, and the largest waste."""
    refused = getattr(session.plan.step, "refused", "")
    lines = [f"the step is not recorded as a CUDA graph ({refused}): it runs eagerly"] if refused else []
    train, wait, evaluation = (record.seconds[key] for key in ("train", "wait", "eval"))
    if train + evaluation < 1.0:
        return lines
    if wait / train > WASTE:
        remedy = "more dataset.workers, or dataset.in_memory=true if memory allows"
        if session.built.engine[0] == "resident":
            remedy = "a larger trainer.batch_size"
        return [*lines, f"data loading takes {wait / train:.0%} of the training time: try {remedy}"]
    if evaluation > train:
        times = f"{evaluation / train:.1f} times as long as training"
        return [*lines, f"evaluation takes {times}: try a larger trainer.eval_every"]
    busy = gpu_busy(session.state.device)
    if busy is not None and busy < IDLE:
        return [*lines, f"the GPU is {busy} % busy: use device=cpu or a larger trainer.batch_size"]
    return lines + compiling_pays(train * (session.plan.epochs - 1), session)


def compiling_pays(seconds_left: float, session: Any) -> list[str]:
    """A word on device.compile where the run is long enough to repay the time that compiling takes."""
    traceable = session.state.spec.input_kind != "text" and "closure" not in session.built.engine
    if session.config.device.compile or not traceable or seconds_left < LONG:
        return []
    return [
        f"about {duration(seconds_left)} of training are left: device.compile=true may shorten such a run"
    ]


def gpu_busy(device: torch.device) -> int | None:
    """The percentage of the last second or so in which this GPU computed, as nvidia-smi says; None if nobody knows."""
    command = shutil.which("nvidia-smi")
    if device.type != "cuda" or command is None:
        return None
    words = [
        command,
        f"--id={gpu_id(device)}",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
    ]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=ASKING, check=True).stdout
        return int(said)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def gpu_id(device: torch.device) -> str:
    """The GPU's own name, since CUDA_VISIBLE_DEVICES counts otherwise than nvidia-smi; else its number."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid else str(device.index or 0)

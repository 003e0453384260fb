"""The throughput doctor: after the first epoch, a line on where the time goes, if something is wasted."""

from __future__ import annotations

import math
import shutil
import subprocess
from contextlib import suppress
from typing import Any

import torch

from dlrun.engine.loop import EpochRecord
from dlrun.run.screen import duration

LONG = 300.0  # seconds of training that repay compiling the step several times over
WASTE = 0.4  # share of the training time spent waiting for batches that is worth a word
IDLE = 30  # percent: a GPU that is busy for less wants more work at a time
LITTLE = 1.0  # seconds of an epoch below which nothing is worth a word


class Doctor:
    """`after(record)` after each epoch: the lines to print, of which there are seldom any."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.first = True
        self.asked: subprocess.Popen[str] | None = None

    def after(self, record: EpochRecord) -> list[str]:
        """After the first epoch what the engine could not do, and the largest waste; an idle GPU a little later."""
        if self.first:
            self.first = False
            said = advice(record, self.session)
            if not said and record.seconds["train"] >= LITTLE:
                self.asked = ask_gpu(self.session.state.device)
            return said
        if self.asked is None or self.asked.poll() is None:
            return []
        busy, self.asked = answer(self.asked), None
        if busy is None or busy >= IDLE:
            return []
        return [f"the GPU is {busy} % busy: use device=cpu or a larger trainer.batch_size"]


def advice(record: EpochRecord, session: Any) -> list[str]:
    """What an epoch says of itself."""
    refused = getattr(session.plan.step, "refused", "")
    lines = [f"the step is not recorded as a CUDA graph ({refused}): it runs eagerly"] if refused else []
    train, wait, evaluation = (record.seconds[key] for key in ("train", "wait", "eval"))
    if train + evaluation < LITTLE:
        return lines
    if wait / train > WASTE:
        remedy = "more dataset.workers, or dataset.in_memory=true if memory allows"
        if session.built.engine[0] == "resident":
            remedy = "a larger trainer.batch_size"
        return [*lines, f"data loading takes {wait / train:.0%} of the training time: try {remedy}"]
    if evaluation > train:
        times = f"{evaluation / train:.1f} times as long as training"
        return [*lines, f"evaluation takes {times}: try a larger trainer.eval_every"]
    return lines + compiling_pays(train * epochs_left(record, session), session)


def epochs_left(record: EpochRecord, session: Any) -> float:
    """As many as the plan still has, by epochs or by steps."""
    plan, batches = session.plan, len(session.built.batches["train"])
    left = float(plan.epochs - record.row["epoch"])
    if plan.max_steps is not None:
        left = min(left, (plan.max_steps - record.row["step"]) / math.ceil(batches / plan.accumulate))
    return max(0.0, left)


def compiling_pays(seconds_left: float, session: Any) -> list[str]:
    """A word on device.compile where the run is long enough to repay the time that compiling takes."""
    device, engine = session.config.device, session.built.engine
    traceable = (
        session.state.spec.input_kind != "text" and "closure" not in engine and device.precision != "fp16"
    )
    if device.compile or not traceable or seconds_left < LONG:
        return []
    return [
        f"about {duration(seconds_left)} of training are left: device.compile=true may shorten such a run"
    ]


def ask_gpu(device: torch.device) -> subprocess.Popen[str] | None:
    """Ask nvidia-smi in what share of the last second or so this GPU computed, while training goes on."""
    command = shutil.which("nvidia-smi")
    if device.type != "cuda" or command is None:
        return None
    words = [
        command,
        f"--id={gpu_id(device)}",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
    ]
    with suppress(OSError):
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return None


def answer(asked: subprocess.Popen[str]) -> int | None:
    """The percentage that it said; None if it did not."""
    said, _ = asked.communicate()
    with suppress(ValueError):
        return int(said)
    return None


def gpu_id(device: torch.device) -> str:
    """The GPU's own name, since CUDA_VISIBLE_DEVICES counts otherwise than nvidia-smi; else its number."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid else str(device.index or 0)

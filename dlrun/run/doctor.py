"""The throughput doctor: advice after the first epoch on how to train faster."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from contextlib import suppress

import torch
from torch import nn

from dlrun.engine.loop import EpochRecord
from dlrun.report.tables import format_seconds
from dlrun.run.context import RunContext
from dlrun.run.waiting import MUCH, ThreadTimes

LONG = 300.0  # seconds of training that repay the time of compiling several times
WASTE = 0.4  # share of the training time spent on waiting for batches above which advice is given
IDLE = 30  # utilization of a GPU in percent below which advice is given
LITTLE = 1.0  # seconds of an epoch below which no advice is given


class Doctor:
    """Gives advice on throughput: `after(record)` returns the lines to print after an epoch, mostly none."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.first = True
        self.asked: subprocess.Popen[str] | None = None
        self.threads: ThreadTimes | None = ThreadTimes()
        self.seconds = 0.0  # of training

    def after(self, record: EpochRecord) -> list[str]:
        """Advice after an epoch.

        Most is given after the first. That on threads waits until training has taken a while, that on an idle GPU
        until nvidia-smi has answered.
        """
        return [*self.on_threads(record), *self.on_the_rest(record)]

    def on_threads(self, record: EpochRecord) -> list[str]:
        """Advice, once, on threads that wait for processors which other processes keep busy."""
        self.seconds += record.seconds["train"]
        if self.threads is None or self.seconds < LITTLE:
            return []
        share, self.threads = self.threads.waiting(), None
        threads = torch.get_num_threads()
        if threads == 1 or share < MUCH or self.context.state.device.type != "cpu":
            return []
        waits = f"the {threads} threads wait {share:.0%} of their time for busy processors"
        return [f"{waits}: device.threads=1 is faster on a machine as busy as this"]

    def on_the_rest(self, record: EpochRecord) -> list[str]:
        """Advice after the first epoch, or from nvidia-smi."""
        if self.first:
            self.first = False
            said = advice(record, self.context)
            if not said and record.seconds["train"] >= LITTLE:
                self.asked = ask_gpu(self.context.state.device)
            return said
        if self.asked is None or self.asked.poll() is None:
            return []
        busy, self.asked = answer(self.asked), None
        if busy is None or busy >= IDLE:
            return []
        return [f"the GPU is {busy} % busy: use device=cpu or a larger trainer.batch_size"]

    def close(self) -> None:
        """End nvidia-smi, if training ends before it has answered."""
        if self.asked is not None:
            self.asked.kill()
            answer(self.asked)
            self.asked = None


def advice(record: EpochRecord, context: RunContext) -> list[str]:
    """Advice from the times of an epoch."""
    refused = getattr(context.plan.step, "refused", "")
    lines = [f"the step is not recorded as a CUDA graph ({refused}): it runs eagerly"] if refused else []
    train, wait, evaluation = (record.seconds[key] for key in ("train", "wait", "eval"))
    if train + evaluation < LITTLE:
        return lines
    if wait / train > WASTE:
        said = f"data loading takes {wait / train:.0%} of the training time"
        return [*lines, said + faster_loading(context)]
    between = train * context.plan.eval_every  # seconds of training from one evaluation to the next
    if evaluation > between and evaluations_left(record, context) > 1:
        times = f"{evaluation / between:.1f} times as long as training"
        return [*lines, f"evaluation takes {times}: try a larger trainer.eval_every"]
    return lines + compiling_pays(train * epochs_left(record, context), context)


def faster_loading(context: RunContext) -> str:
    """The settings that speed up reading this data set."""
    if context.components.engine[0] == "resident":
        return ": try a larger trainer.batch_size"
    known = context.config.section("dataset")
    remedies = ["more dataset.workers"] if "workers" in known else []
    if "in_memory" in known and context.components.data.train.augment is None:
        remedies.append("dataset.in_memory=true if memory allows")
    return f": try {', or '.join(remedies)}" if remedies else ""


def evaluations_left(record: EpochRecord, context: RunContext) -> int:
    """The number of evaluations that remain: one every `eval_every` epochs, and one after the last."""
    every, done = context.plan.eval_every, int(record.row["epoch"])
    last = done + math.ceil(epochs_left(record, context))
    return last // every - done // every + (last % every != 0)


def epochs_left(record: EpochRecord, context: RunContext) -> float:
    """The number of epochs that remain, limited by epochs or by steps."""
    plan, batches = context.plan, len(context.batches["train"])
    left = float(plan.epochs - record.row["epoch"])
    if plan.max_steps is not None:
        left = min(left, (plan.max_steps - record.row["step"]) / math.ceil(batches / plan.accumulate))
    return max(0.0, left)


def compiling_pays(seconds_left: float, context: RunContext) -> list[str]:
    """Advice on device.compile if the remaining training is long enough to repay the time of compiling."""
    if context.config.device.compile or seconds_left < LONG or not compiling_helps(context):
        return []
    return [f"about {format_seconds(seconds_left)} of training are left: device.compile=true may shorten such a run"]


def compiling_helps(context: RunContext) -> bool:
    """Whether compiling the step is possible and likely to be faster.

    Packed text, LBFGS and scaled gradients are not compiled. Convolutions are slower when compiled
    (docs/benchmarks.md), and a CUDA graph is as fast.
    """
    state, engine = context.state, context.components.engine
    if state.spec.input_kind == "text" or context.config.device.precision == "fp16":
        return False
    if {"closure", "channels_last", "cuda_graph"} & set(engine):
        return False
    if any(isinstance(module, nn.Conv2d) for module in state.model.modules()):
        return False
    return state.device.type != "cpu" or has_compiler()


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which compiling for the CPU needs."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return any(shutil.which(name) for name in names)


def ask_gpu(device: torch.device) -> subprocess.Popen[str] | None:
    """Start nvidia-smi to query the utilization of this GPU, while training continues."""
    command = shutil.which("nvidia-smi")
    if device.type != "cuda" or command is None:
        return None
    words = [command, f"--id={gpu_id(device)}", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with suppress(OSError):
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return None


def answer(asked: subprocess.Popen[str]) -> int | None:
    """The utilization in percent that nvidia-smi has printed, or None."""
    said, _ = asked.communicate()
    with suppress(ValueError):
        return int(said)
    return None


def gpu_id(device: torch.device) -> str:
    """The GPU's UUID, since nvidia-smi does not number GPUs as CUDA_VISIBLE_DEVICES does; else its number."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid else str(device.index or 0)

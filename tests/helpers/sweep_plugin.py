"""A model that misbehaves on demand, copied into a test's folder and used as a plug-in by worker processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn

import dlrun
from dlrun.assembly.assemble import EXAMPLE_ROWS
from dlrun.errors import ConfigError, Problem
from dlrun.run import closing

if "pytest" not in sys.modules:  # in a worker: figures are not what these tests look at
    closing.draw = lambda *_: None  # type: ignore[assignment]


class Bad(nn.Module):
    """A linear model that does something terrible in its first training batch."""

    def __init__(self, inputs: int, outputs: int, kind: str, seconds: float) -> None:
        super().__init__()
        self.linear, self.kind, self.seconds = nn.Linear(inputs, outputs), kind, seconds

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, outputs)."""
        if self.training and len(x) > EXAMPLE_ROWS:  # not yet when it is tried before the run begins
            time.sleep(self.seconds)
            misbehave(self.kind)
        return self.linear(x.flatten(1))


def misbehave(kind: str) -> None:
    """Die in the way that `kind` says, unless there is a file named `healed`."""
    if os.path.exists("healed"):
        return
    if kind == "raise":
        raise RuntimeError("the model says no: column 3 is not finite, training diverged")
    if kind == "interrupt":
        raise KeyboardInterrupt("by the model")
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "exit":
        os._exit(9)
    if kind == "memory":
        limit = 1 << 32
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        torch.zeros(1 << 31)
    if kind == "signal":
        os.kill(os.getpid(), 40)  # a real-time signal, of which Python has no name
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "hang":
        while True:
            time.sleep(1)


KINDS = dict(enumerate(["raise", "signal", "segfault", "exit", "memory", "hang", "stop", "interrupt"], start=1))


@dlrun.register.model("bad")
def bad(spec: Any, job: int = 0, kind: str = "good", seconds: float = 0.0) -> nn.Module:
    """Good or bad, by `kind` or by the number of the job."""
    if kind == "impossible":  # only building shows it
        raise ConfigError(Problem("model.kind", "this one cannot be built."))
    inputs = 1
    for size in spec.input_shape:
        inputs *= size
    return Bad(inputs, spec.num_outputs, KINDS.get(job, kind), seconds)

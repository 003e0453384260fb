"""`trainer.profile=true`: where the time of some steps goes, as a table to read and a trace to look at.

profile.txt lists the operations by their own time; trace.json opens in https://ui.perfetto.dev.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from dlrun.run.rundir import RunDir, write_atomic

FIRST, LAST = 10, 30  # the steps that are profiled (1 = the first of this process)
ROWS = 25


class ProfiledStep:
    """A step that is watched for a while; its numbers are those of the step inside."""

    def __init__(self, step: Any, run: RunDir, device_type: str) -> None:
        self.step, self.run = step, run
        self.name = step.name
        activities = [ProfilerActivity.CPU]
        if device_type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.profiler = profile(activities=activities)
        self.count = 0
        self.watching = False

    def __call__(
        self, state: Any, batch: Any, scale: float = 1.0, update: bool = True
    ) -> tuple[Tensor, Tensor]:
        """One batch."""
        self.count += 1
        if self.count == FIRST:
            self.profiler.start()
            self.watching = True
        result: tuple[Tensor, Tensor] = self.step(state, batch, scale, update)
        if self.count == LAST:
            self.write()
        return result

    def write(self) -> None:
        """Stop watching, and write profile.txt and trace.json."""
        if not self.watching:
            return
        self.watching = False
        self.profiler.stop()
        steps = self.count - FIRST + 1
        table = self.profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=ROWS)
        write_atomic(self.run.file("profile.txt"), f"{steps} steps of training\n{table}\n".encode())
        self.profiler.export_chrome_trace(str(self.run.file("trace.json")))

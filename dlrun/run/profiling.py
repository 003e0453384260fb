"""`trainer.profile=true`: profile some training steps.

profile.txt lists the operations by their own time; trace.json can be opened in https://ui.perfetto.dev.
"""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from dlrun.engine.state import Step, StepResult, TrainState
from dlrun.run.screen import shorter
from dlrun.spec import Batch
from dlrun.store.files import write_atomic
from dlrun.store.rundir import RunDir

FIRST, LAST = 10, 30  # the steps that are profiled, counted from 1; in a short run they begin earlier
TABLE_ROWS = 25


class ProfiledStep:
    """A step that profiles another one for some time and gives the same results.

    `steps` is the number of steps that remain; at most the first third of them is not profiled.
    """

    def __init__(self, step: Step, run: RunDir, device_type: str, steps: int) -> None:
        self.step, self.run = step, run
        self.first = max(1, min(FIRST, steps // 3))
        self.name = step.name
        activities = [ProfilerActivity.CPU]
        if device_type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.profiler = profile(activities=activities)
        self.count = 0
        self.watching = self.written = False

    def __call__(self, state: TrainState, batch: Batch, scale: float = 1.0, update: bool = True) -> StepResult:
        """Train on one batch."""
        self.count += 1
        if self.count == self.first:
            self.profiler.start()
            self.watching = True
        result = self.step(state, batch, scale, update)
        if self.count == LAST:
            self.write()
        return result

    def write(self) -> None:
        """Stop profiling, and write profile.txt and trace.json."""
        if not self.watching:
            return
        self.watching = False
        self.profiler.stop()
        steps = self.count - self.first + 1
        table = self.profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=TABLE_ROWS)
        write_atomic(self.run.file("profile.txt"), f"{steps} steps of training\n{table}\n".encode())
        self.profiler.export_chrome_trace(str(self.run.file("trace.json")))
        self.written = True

    def message(self) -> str:
        """A line on where the profile is, or why there is none."""
        if not self.written:
            return f"profile: none, since training ended before step {self.first} of this session"
        return f"profile: {shorter(self.run.file('profile.txt'))}, and trace.json beside it"

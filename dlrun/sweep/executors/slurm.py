"""Jobs on a SLURM cluster, each in a batch job that submitit submits.

`sweep.slurm={partition: gpu, gpus_per_node: 1, timeout_min: 240}` are submitit's parameters; those of sbatch alone
need no `slurm_` before them. The sweep's folder must be on a file system that the nodes share. A job that reaches its
time limit or is preempted goes back into the queue, and goes on from its checkpoint. Jobs outlive the sweep's
process: the same command finds them again. `{cluster: local}` runs them on this machine, to try the set-up.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.errors import ConfigError, Problem, RunError, first_line
from dlrun.plain import Values
from dlrun.processes import safe_path
from dlrun.run.screen import shorter
from dlrun.sweep.executors.base import Ended, needs_extra
from dlrun.sweep.task import Task, run_task

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

    BatchJob = Job[int]

MOST = 64  # jobs in the queue when `sweep.workers` is auto
SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")
SAYS_NOTHING = ("FINISHED", "COMPLETED", "UNKNOWN", "NO PROCESS AND NO RESULT")  # states of a job without a result
RESULT_SECONDS = 0.5  # seconds between looks at the result files


class Submitted:
    """`run_task` for submitit, which puts it back into the queue at the time limit."""

    def __call__(self, values: Values) -> int:
        return run_task(values)

    def checkpoint(self, values: Values) -> DelayedSubmission:
        """Submit the same task again: the run resumes from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, values)


class SlurmExecutor:
    """Tasks as batch jobs (see `base.Executor`)."""

    def __init__(self, settings: Values, state: Path) -> None:
        try:
            import submitit
        except ImportError:
            raise needs_extra("slurm", "submitit") from None
        self.submitit = submitit
        options = dict(settings["slurm"])
        self.cluster = options.pop("cluster", "slurm")
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            hint = "Run this on a login node, or try it here with sweep.slurm={cluster: local}."
            raise ConfigError(Problem("sweep.executor", "there is no sbatch on this machine.", hint))
        self.folder = (state / "slurm").absolute()
        self.executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        try:
            named = {key if key in SHARED else f"slurm_{key.removeprefix('slurm_')}": options[key] for key in options}
            self.executor.update_parameters(**{"name": "dlrun", **named})
        except (NameError, ValueError, TypeError) as error:
            raise ConfigError(Problem("sweep.slurm", first_line(error))) from None
        self.slots = MOST if settings["workers"] == "auto" else int(settings["workers"])
        self.jobs: dict[str, BatchJob] = {}

    def start(self, task: Task) -> str:
        try:
            with safe_path() as variables:
                task = replace(task, environment={**variables, **task.environment})
                job = self.executor.submit(Submitted(), task.to_dict())
        except self.submitit.core.utils.FailedJobError as error:
            raise RunError(f"sbatch refused the job: {error}") from None
        self.jobs[task.slug] = job
        return str(job.job_id)

    def adopt(self, slug: str, handle: str) -> bool:
        """Take over a batch job of an earlier process, which may be queued, running or ended."""
        if self.cluster == "slurm":
            self.jobs[slug] = self.submitit.SlurmJob(folder=self.folder, job_id=handle)
        return self.cluster == "slurm"

    def wait(self, seconds: float) -> list[Ended]:
        time.sleep(max(seconds, RESULT_SECONDS))
        ended = [slug for slug, job in self.jobs.items() if job.done()]
        return [self.ending(slug, self.jobs.pop(slug)) for slug in ended]

    def ending(self, slug: str, job: BatchJob) -> Ended:
        """The exit code of a finished job, or SLURM's state and the place of the log."""
        try:
            return Ended(slug, int(job.result()))
        except Exception:  # submitit's, or whatever was raised in the job; the log has it
            state = "" if job.state in SAYS_NOTHING else f" ({job.state})"
            logs = [path for path in (job.paths.stderr, job.paths.stdout) if path.exists() and path.stat().st_size]
            log = f": {shorter(logs[0])}" if logs else ", nor a log"
            return Ended(slug, None, note=f"batch job {job.job_id} ended without a result{state}{log}")

    def stop(self, number: int) -> None:
        """Cancel all jobs: SLURM sends SIGTERM, and SIGKILL after the cluster's KillWait."""
        for job in self.jobs.values():
            job.cancel(check=False)

    kill = close = lambda self: self.stop(9)

"""Checks before a sweep: one job of each kind is built; `sweep.dry_run=true` tries one batch of every job."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from dlrun.config.schema.schema import COMPONENTS
from dlrun.errors import ConfigError, Problem, count_of
from dlrun.plain import say
from dlrun.processes import processors
from dlrun.report.stats import is_number
from dlrun.report.tables import Table, format_number, format_seconds, print_table
from dlrun.store.failure import Failure, read_failure
from dlrun.sweep.executors.base import Ended, process_failure
from dlrun.sweep.executors.local import LocalExecutor
from dlrun.sweep.folder import FrozenJob
from dlrun.sweep.task import Task, task_result

SWEEP_SECONDS = 3.0  # to start workers and write the report, for the estimate
CHECK_SECONDS = 10.0  # that building jobs may take before the sweep begins
NOTE_SECONDS = 5.0  # of building after which a note is printed
TRIAL_SECONDS = 600.0  # that trying one job may take where there is no `sweep.job_timeout`


@dataclass(frozen=True)
class DryRunResult:
    """The result of trying one job: an estimate of its cost, or why it cannot be run."""

    job: FrozenJob
    seconds: float = 0.0  # of the whole run
    memory_mib: float = 0.0
    parameters: int = 0
    steps: int = 0
    failure: Failure | None = None
    impossible: bool = False  # whether the configuration is invalid


def try_jobs(jobs: Sequence[FrozenJob], settings: dict[str, Any], plugins: Sequence[str]) -> list[DryRunResult]:
    """Try every job on this machine, whatever the executor is. Nothing stays on disk."""
    runnable = [job for job in jobs if not job.invalid]
    found = {
        job.slug: DryRunResult(job, failure=Failure("input", job.invalid, exit_code=2), impossible=True)
        for job in jobs
        if job.invalid
    }
    limit = {**settings, "job_timeout": settings["job_timeout"] or TRIAL_SECONDS}
    executor = LocalExecutor(limit, [job.config for job in runnable])
    try:
        for job, ended, result, log in tried_on(executor, runnable, plugins, "batch"):
            crash = None if result else process_failure(ended, executor.timeout, log)
            found[job.slug] = dry_run_result(job, result, crash, ended.memory_mib)
    finally:
        executor.close()
    return [found[job.slug] for job in jobs]


def tried_on(
    executor: LocalExecutor, jobs: Sequence[FrozenJob], plugins: Sequence[str], check: str, seconds: float = math.inf
) -> Iterator[tuple[FrozenJob, Ended, dict[str, Any], Path]]:
    """Try jobs in worker processes. Yields each job when its process ends, with its result and its log.

    `seconds` after the first job has begun, no further job is begun and running ones are killed.
    """
    until = math.inf
    with tempfile.TemporaryDirectory(prefix="dlrun-") as name:
        state, waiting = Path(name), list(jobs)
        while waiting or executor.children:
            while waiting and len(executor.children) < executor.slots:
                executor.start(check_task(waiting.pop(0), state, plugins, executor.timeout, check))
            for ended in executor.wait(0.2):
                job = next(job for job in jobs if job.slug == ended.slug)
                yield job, ended, task_result(state, job.slug), state / f"{job.slug}.log"
            if until == math.inf and any(worker.child.pid for worker in executor.children.values()):
                until = time.monotonic() + seconds
            if time.monotonic() > until:
                waiting = []
                executor.kill()


def check_kinds(
    executor: LocalExecutor, jobs: Sequence[FrozenJob], plugins: Sequence[str], say: Callable[[str], None]
) -> None:
    """Build one job of each kind before anything is trained. Raises `ConfigError` for invalid ones.

    This finds what only torch, the data or the device can tell: a model that does not fit the data, an unknown metric,
    a missing GPU. Jobs that differ in numbers alone (seeds, learning rates) are of one kind.
    """
    kinds = [*{kind_of(job): job for job in reversed(jobs)}.values()][::-1]
    soon = Timer(NOTE_SECONDS, say, [f"building one job of each kind first, for {CHECK_SECONDS:.0f} s at most"])
    soon.daemon = True
    soon.start()
    try:
        unseen = refuse_unbuildable(executor, jobs, kinds, plugins)
    finally:
        soon.cancel()
    if unseen:
        text = f"not built within {CHECK_SECONDS:.0f} s, so not checked: {unseen[0].label}"
        say(text + (f" and {len(unseen) - 1} more kinds of jobs" if len(unseen) > 1 else ""))


def refuse_unbuildable(
    executor: LocalExecutor, jobs: Sequence[FrozenJob], kinds: Sequence[FrozenJob], plugins: Sequence[str]
) -> list[FrozenJob]:
    """Build these `kinds` of the jobs. Raises `ConfigError` for invalid ones; returns those that did not answer."""
    problems, answered = [], set()
    for job, _, result, _ in tried_on(executor, kinds, plugins, "build", CHECK_SECONDS):
        if result:
            answered.add(job.slug)
        if result.get("impossible"):
            same = sum(kind_of(other) == kind_of(job) for other in jobs) - 1
            more = f" (and {same} more that differ from it in numbers alone)" if same else ""
            problems.append(Problem(job.label, f"{result['error']}{more}"))
    if problems:
        hint = "sweep.skip_invalid=true lets these fail, and runs the others."
        raise ConfigError([*problems, Problem("sweep", "some jobs cannot be run; nothing was started.", hint)])
    return [job for job in kinds if job.slug not in answered]


def kind_of(job: FrozenJob) -> str:
    """The kind of a job: its swept values without numbers, as text."""
    return repr([(key, value) for key, value in job.swept.items() if not is_number(value)])


def unlike(jobs: Iterable[FrozenJob]) -> list[FrozenJob]:
    """One job of each choice of components and device, which is what executors look at."""
    valid = [job for job in jobs if job.values]
    marks = {repr([job.values["device"], *(job.values[part].get("name") for part in COMPONENTS)]): job for job in valid}
    return [*marks.values()]


def check_task(job: FrozenJob, state: Path, plugins: Sequence[str], timeout: float | None, check: str) -> Task:
    """A task that checks the job instead of training it."""
    return Task(
        slug=job.slug,
        path=str(state / job.slug),
        state=str(state),
        config=job.values,
        plugins=list(plugins),
        folder=str(Path.cwd()),
        timeout=timeout,
        check=check,
    )


def dry_run_result(job: FrozenJob, result: dict[str, Any], crash: Failure | None, memory_mib: float) -> DryRunResult:
    """The result of a job's process as a `DryRunResult`."""
    if failure := crash or read_failure(result):
        return DryRunResult(job, failure=failure, impossible=bool(result.get("impossible")))
    memory = max(memory_mib, result["gpu_mib"])
    return DryRunResult(job, result["seconds"], memory, result["parameters"], result["steps"])


def slots_here(settings: dict[str, Any]) -> int:
    """The number of jobs that run at a time on this machine."""
    return processors() if settings["workers"] == "auto" else int(settings["workers"])


def print_plan(
    tried: Sequence[DryRunResult],
    settings: dict[str, Any],
    trials: int | None = None,
    budget: tuple[int, int, int] | None = None,
) -> None:
    """Print each job's estimate and that of the whole sweep.

    A search has `trials` jobs like those that were tried; with a `budget` (trials, final runs, options) each job that
    was tried stands for an option.
    """
    if budget:
        trials = budget[2] * (budget[0] + budget[1])
    rows = []
    for one in tried:
        numbers = ["", "", "", "impossible" if one.impossible else "would fail"]
        if one.failure is None:
            numbers = [
                f"{one.parameters:,}",
                f"{one.steps:,}",
                f"{format_seconds(one.seconds)}, {one.memory_mib:,.0f} MiB",
                "ready",
            ]
        rows.append([one.job.label, *numbers])
    print_table(Table(["job", "parameters", "steps", "time and memory, about", "plan"], rows))
    good = [one for one in tried if one.failure is None]
    if good:
        workers = slots_here(settings)
        longest, total = max(one.seconds for one in good), sum(one.seconds for one in good)
        times = trials / len(tried) if trials else 1
        seconds = SWEEP_SECONDS + max(longest, times * total / workers)
        largest = sorted((one.memory_mib for one in good), reverse=True)[:workers]
        memory = sum(largest) if not trials else workers * max(largest)
        words = f"about {format_seconds(seconds)} with {workers} at a time, {format_number(math.ceil(memory))} MiB"
        if budget:
            each = f"{budget[0]} trials and {budget[1]} runs with new seeds of each of {count_of(budget[2], 'option')}"
            say(f"\n{each}, {trials} jobs: {words}.")
        elif trials:
            say(f"\nA search makes its jobs one by one, this was one of them. All {trials}: {words}.")
        else:
            say(f"\n{len(good)} of {len(tried)} jobs are ready: {words}.")
    for one in tried:
        if one.failure is not None:
            message = indent(one.failure.message)
            say(f"\n{'impossible' if one.impossible else 'would fail'}: {one.job.label}\n  {message}")


def indent(text: str) -> str:
    """A message whose further lines are indented."""
    return "\n  ".join(text.strip().splitlines())

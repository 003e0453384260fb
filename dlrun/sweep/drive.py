"""The loop of a sweep, the same for every executor: it starts jobs, collects results and answers pruning requests.

Every change is written to the folder at once, so the process may be killed at any moment without loss.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrun.report.tables import format_seconds
from dlrun.run.signals import EXIT_CODES, Signals
from dlrun.store.failure import Failure, read_failure
from dlrun.store.files import now, write_json
from dlrun.store.reading import read_json
from dlrun.sweep.executors.base import Ended, Executor, process_failure
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.identity import code_hash
from dlrun.sweep.screen import SweepScreen
from dlrun.sweep.source import Source
from dlrun.sweep.state import (
    DONE,
    WAITING,
    Record,
    StatusTable,
    last_line,
    read_record,
    state_of_job,
    states_of_jobs,
    write_record,
)  # fmt: skip
from dlrun.sweep.task import Task, task_result

POLL_SECONDS = 0.1  # seconds between looks at the running jobs
POLL_PRUNING = 0.01  # seconds, where jobs wait for an answer after each epoch
STATUS_SECONDS = 1.0  # between rewritings of status.csv, at least
STATUS_SHARE = 0.01  # of the time that they may take
STOP_SECONDS = 60.0  # how long jobs that were asked to stop may take before they are killed
DYING = 5.0  # seconds that the jobs of a killed sweep may take to end


@dataclass
class Running:
    """A running job: when it was started, and the last epoch that it reported."""

    job: FrozenJob
    started: float
    epoch: float = 0


class Drive:
    """Runs the jobs of a source to their end."""

    def __init__(
        self,
        sweep: SweepDir,
        executor: Executor,
        source: Source,
        screen: SweepScreen,
        *,
        argv: Sequence[str],
        plugins: Sequence[str],
        prune: bool,
    ) -> None:
        self.sweep, self.executor, self.source, self.screen = sweep, executor, source, screen
        self.argv, self.plugins, self.prune = list(argv), list(plugins), prune
        self.timeout: float | None = sweep.settings["job_timeout"]
        self.records = states_of_jobs(sweep)  # by slug, kept as jobs change
        self.status = StatusTable(sweep)
        self.running: dict[str, Running] = {}
        self.waiting: list[FrozenJob] = []  # jobs that another process still runs
        self.signals = Signals(held=True, again=self.hurry)
        self.hurried = False  # whether a second Ctrl-C asked to end at once
        self.asked_at: float | None = None  # when the jobs were asked to stop
        self.killed = False
        self.write_at = 0.0  # when status.csv is written next
        self.code = code_hash()
        self.begun, self.said_late = time.monotonic(), False  # for sweep.time_limit

    def run(self) -> int | None:
        """Run all jobs. Returns the number of the signal that ended the sweep early, or None."""
        with self.signals, self.screen:
            try:
                while True:
                    self.fill()
                    if not self.running and not self.waiting:
                        break
                    self.poll()
            except OSError:  # the folder cannot be written to, so what becomes of the jobs cannot be recorded
                self.stop_jobs()
                raise
            finally:
                self.executor.close()
        self.status.write(self.all_records())
        return self.signals.number

    def hurry(self) -> None:
        """End the jobs at once from now on: the handler of a second Ctrl-C."""
        self.hurried = True

    def stop_jobs(self) -> None:
        """Ask the jobs to stop, and wait until they have ended."""
        self.executor.stop(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while self.running and time.monotonic() < until and not self.hurried:
            for ended in self.executor.wait(POLL_SECONDS):
                self.running.pop(ended.slug, None)

    def fill(self) -> None:
        """Start jobs while slots are free, unless a stop was requested."""
        if self.signals.stop():
            self.waiting = []
            return
        if self.is_late():
            return
        while len(self.running) < self.executor.slots and (job := self.source.next()) is not None:
            self.begin(job)

    def is_late(self) -> bool:
        """Whether `sweep.time_limit` is over, after which no further job begins; this is said once."""
        limit = self.sweep.settings["time_limit"]
        if limit is None or time.monotonic() - self.begun < limit:
            return False
        if not self.said_late:
            self.said_late = True
            self.screen.note(f"{format_seconds(limit)} are over (sweep.time_limit): no further job begins")
        return True

    def begin(self, job: FrozenJob) -> None:
        """Start a job, or take it over from the executor's queue, or put it off while another process runs it."""
        old = read_record(self.sweep, job.slug)
        record = state_of_job(self.sweep, job, old)
        if old.handle and old.state == "running" and self.executor.adopt(job.slug, old.handle):
            self.running[job.slug] = Running(job, time.monotonic())
            return
        if record.state == "running" and not self.is_freed(job):
            self.screen.note(f"{job.label} is run by another process: waiting for it")
            self.waiting.append(job)
            return
        for suffix in ("log", "epoch.json", "answer.json", "result.json"):
            with suppress(FileNotFoundError):
                (self.sweep.state / f"{job.slug}.{suffix}").unlink()
        record = Record(state="running", attempts=old.attempts + 1, code=self.code_of(job, old))
        self.store(job, record)
        handle = self.executor.start(self.task(job))
        if handle:
            self.store(job, replace(record, handle=handle))
        self.running[job.slug] = Running(job, time.monotonic())

    def code_of(self, job: FrozenJob, old: Record) -> str:
        """The hash of the code that a job runs with; two hashes if it resumes from a checkpoint of other code."""
        if not old.code or not self.sweep.run(job.slug).has_checkpoint:
            return self.code
        return old.code if old.code.split()[-1] == self.code else f"{old.code} then {self.code}"

    def is_freed(self, job: FrozenJob) -> bool:
        """Wait a few seconds for the process of a killed sweep to end. Returns whether the run is free."""
        until = time.monotonic() + DYING
        while state_of_job(self.sweep, job).state == "running":
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def task(self, job: FrozenJob) -> Task:
        """What the executor needs to run the job, as plain values."""
        return Task(
            slug=job.slug,
            path=str(self.sweep.run(job.slug).path.absolute()),
            state=str(self.sweep.state.absolute()),
            config=job.values,
            overrides=list(job.overrides),
            argv=self.argv,
            plugins=self.plugins,
            folder=job.folder if os.path.isdir(job.folder) else str(Path.cwd()),
            timeout=self.timeout,
            prune=self.prune,
        )

    def poll(self) -> None:
        """Collect ended jobs, answer pruning requests, pass on signals and update what is shown."""
        for ended in self.executor.wait(POLL_PRUNING if self.prune else POLL_SECONDS):
            self.conclude(ended)
        if self.prune:
            for running in self.running.values():
                self.answer(running)
        for job in [job for job in self.waiting if state_of_job(self.sweep, job).state != "running"]:
            self.waiting.remove(job)
            self.take_over(job)
        self.pass_on_signals()
        self.screen.update(self.sweep, [running.job for running in self.running.values()])
        if time.monotonic() > self.write_at:
            began = time.monotonic()
            self.status.write(self.all_records())
            took = time.monotonic() - began
            self.write_at = began + max(STATUS_SECONDS, took / STATUS_SHARE)

    def take_over(self, job: FrozenJob) -> None:
        """Finish or begin a job that another process no longer runs."""
        record = state_of_job(self.sweep, job)
        if record.state in DONE:
            self.finish(job, record)
        else:
            self.begin(job)

    def answer(self, running: Running) -> None:
        """Tell a job that has reported a new epoch whether it is pruned."""
        slug = running.job.slug
        row = read_json(self.sweep.state / f"{slug}.epoch.json")
        if row.get("epoch", 0) <= running.epoch:
            return
        running.epoch = row["epoch"]
        answer = {"epoch": row["epoch"], "prune": self.source.epoch(running.job, row)}
        write_json(self.sweep.state / f"{slug}.answer.json", answer)

    def pass_on_signals(self) -> None:
        """Ask the jobs to stop after a first signal; kill them after a second Ctrl-C or `STOP_SECONDS`."""
        if not self.signals.stop():
            return
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.screen.note("stopping: the jobs write their checkpoints (Ctrl-C again ends them at once)")
            self.executor.stop(signal.SIGTERM)
        late = time.monotonic() - self.asked_at > STOP_SECONDS
        if (self.hurried or late) and not self.killed:
            self.killed = True
            self.executor.kill()

    def conclude(self, ended: Ended) -> None:
        """Record the state of a job whose process has ended, and why it failed if it did."""
        running = self.running.pop(ended.slug)
        job = running.job
        seconds = time.monotonic() - running.started if ended.seconds is None else ended.seconds
        old = self.records[job.slug]
        result, run = task_result(self.sweep.state, job.slug), self.sweep.run(job.slug)
        record = replace(old, seconds=seconds, memory_mib=ended.memory_mib, handle="", threads=run.threads or 0)
        status = run.read_status()
        if status.get("state") in DONE:
            self.finish(job, replace(record, state=status["state"]))
        elif self.signals.stop() and result.get("exit_code") in (None, *EXIT_CODES.values()):
            self.finish(job, replace(record, state="waiting"))
        else:
            failure = read_failure(result) or process_failure(ended, self.timeout, self.sweep.log(job.slug))
            if result and status.get("state") == "interrupted":  # its checkpoint is whole: the same command resumes it
                failure = replace(failure, message=f"{failure.message} from outside the sweep")
            if not result or status.get("state") == "running":
                self.write_crash(job, status, failure)
            line = last_line(self.sweep.log(job.slug))
            self.finish(job, replace(record, state="failed", failure=failure, last_line=line))

    def write_crash(self, job: FrozenJob, status: dict[str, Any], failure: Failure) -> None:
        """Write the failure into the run's status.json, which a process that crashed could not do."""
        if status:
            self.sweep.run(job.slug).write_status(state="failed", ended=now(), **failure.to_values())

    def finish(self, job: FrozenJob, record: Record) -> None:
        """Store and print the final record of a job, and pass it to the source."""
        self.store(job, record)
        self.screen.ended(self.sweep, job, record)
        self.source.ended(job, record)

    def store(self, job: FrozenJob, record: Record) -> None:
        self.records[job.slug] = record
        write_record(self.sweep, job.slug, record)

    def all_records(self) -> dict[str, Record]:
        """The present records of all jobs in the folder. Those of running jobs are read again."""
        changing = [*(running.job for running in self.running.values()), *self.waiting]
        now = {job.slug: state_of_job(self.sweep, job, self.records.get(job.slug, Record())) for job in changing}
        return {slug: now.get(slug) or self.records.get(slug, WAITING) for slug in self.sweep.jobs}

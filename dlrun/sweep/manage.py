"""`dlrun sweep status | retry | stop DIR`, the commands for an existing sweep. Each returns an exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from os import kill

from dlrun.config.config import current_schema, not_registered
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import say
from dlrun.processes import collecting_rarely
from dlrun.report.tables import Table, print_table
from dlrun.store.files import now
from dlrun.sweep.command import run_jobs, with_lock
from dlrun.sweep.folder import FrozenJob, SweepDir, expect_sweep
from dlrun.sweep.samplers.space import size
from dlrun.sweep.screen import ignore_closed_stdout
from dlrun.sweep.state import alone, command_to_continue, counts, retry_command_of, states_of_jobs, todo_of

STOP_TIMEOUT = 90.0  # seconds that `sweep stop` waits for the sweep to end


@collecting_rarely()
def status_command(path: str) -> int:
    """Print the state of every job of a sweep. Returns 0."""
    sweep = expect_sweep(path)
    if not sweep.jobs and sweep.owner():
        say(f"{sweep.path} is just beginning, run by process {sweep.owner()}.")
        return 0
    records = states_of_jobs(sweep)
    rows = []
    for job in sweep.jobs.values():
        record = records[job.slug]
        rows.append([job.label, record.state, record.failure.first_line if record.failure else ""])
    print_table(Table(["job", "state", "error"], rows))
    words = ", ".join(f"{count} {state}" for state, count in counts(records.values()).items())
    owner = sweep.owner()
    runner = f"run by process {owner}" if owner else "no process runs it"
    say(f"\n{len(rows)} jobs: {words or 'none'}; {runner}.")
    for job in sweep.jobs.values():
        if records[job.slug].state == "failed":
            say(f"alone: {alone(job, records[job.slug])}")
    return 0


@collecting_rarely()
def retry_command(path: str, *, argv: Sequence[str] = (), quiet: bool = False) -> int:
    """Run the failed and unfinished jobs of a sweep as they were frozen. Returns the exit code of a sweep.

    Raises `ConfigError` if a job needs a plug-in that was not imported: no code is imported on a folder's word.
    """
    sweep = expect_sweep(path)
    expect_components(sweep, todo_of(sweep, sweep.jobs.values(), retry_failed=True))

    def work() -> int:
        jobs = list(sweep.jobs.values())
        todo = todo_of(sweep, jobs, retry_failed=True)
        sweep.commands.append({"at": now(), "command": f"dlrun sweep retry {path}", "jobs": len(todo)})
        code = run_jobs(sweep, None, jobs, todo, argv=argv or ["sweep", "retry", path], quiet=quiet)
        print_trials_left(sweep)
        return code

    return with_lock(sweep, work)


def print_trials_left(sweep: SweepDir) -> None:
    """Print how many trials of a search have not begun, and the command that begins them."""
    if sweep.settings["search"] == "grid":
        return
    begun = len({job.trial for job in sweep.jobs.values() if job.trial is not None})
    total = min(sweep.settings["trials"], size(space if isinstance(space := sweep.search["space"], list) else [space]))
    if begun < total:
        with ignore_closed_stdout():
            say(f"{begun} of {total} trials were begun; the others:  {command_to_continue(sweep)}")


def expect_components(sweep: SweepDir, jobs: Iterable[FrozenJob]) -> None:
    """Raise `ConfigError` if jobs need components that are not registered."""
    schema = current_schema()
    problems = [problem for job in jobs for problem in not_registered(job.values, schema)]
    if problems:
        problems.append(Problem("sweep retry", "nothing was started.", f"Write: {retry_command_of(sweep)}"))
        raise ConfigError(list(dict.fromkeys(problems)))


def stop_command(path: str) -> int:
    """End a running sweep, whose jobs write checkpoints. Returns 0; raises `RunError` if it does not end in time."""
    sweep = expect_sweep(path)
    owner = sweep.owner()
    if owner is None:
        say(f"{sweep.path} is not running.")
        return 0
    with suppress(ProcessLookupError):
        kill(owner, signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT
    while sweep.owner() is not None:
        if time.monotonic() > until:
            raise RunError(f"process {owner} has not ended in {STOP_TIMEOUT:.0f} s. To end it at once: kill -9 {owner}")
        time.sleep(0.1)
    say(f"Stopped. Go on with:  {command_to_continue(sweep)}" if sweep.jobs else "Stopped before its first job.")
    return 0

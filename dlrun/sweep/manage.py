"""`dlrun sweep status | retry | stop DIR`: a sweep that is there already. Each returns an exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from os import kill

from dlrun.config.config import current_schema, not_registered
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import say
from dlrun.report.tables import Table, print_table
from dlrun.store.files import now
from dlrun.sweep.command import held, run_jobs, todo_of
from dlrun.sweep.folder import FrozenJob, SweepDir, expect_sweep
from dlrun.sweep.samplers.search import size
from dlrun.sweep.screen import ignore_closed_stdout
from dlrun.sweep.state import alone, counts, read_record, retry_words, state_of_job, words_to_go_on

STOP_TIMEOUT = 90.0  # that `sweep stop` waits for the sweep to end


def status_command(path: str) -> int:
    """Print how a sweep stands. Returns 0."""
    sweep = expect_sweep(path)
    if not sweep.jobs and sweep.owner():
        say(f"{sweep.path} is just beginning, run by process {sweep.owner()}.")
        return 0
    records = {job.slug: state_of_job(sweep, job, read_record(sweep, job.slug)) for job in sweep.jobs.values()}
    rows = []
    for job in sweep.jobs.values():
        record = records[job.slug]
        rows.append([job.label, record.state, record.failure.first_line if record.failure else ""])
    print_table(Table(["job", "state", "error"], rows))
    words = ", ".join(f"{count} {state}" for state, count in counts(records.values()).items())
    owner = sweep.owner()
    held = f"run by process {owner}" if owner else "no process runs it"
    say(f"\n{len(rows)} jobs: {words or 'none'}; {held}.")
    for job in sweep.jobs.values():
        if records[job.slug].state == "failed":
            say(f"alone: {alone(job)}")
    return 0


def retry_command(path: str, *, argv: Sequence[str] = (), quiet: bool = False) -> int:
    """Run the failed and unfinished jobs of a sweep as they were frozen. Returns the exit code of a sweep.

    Plug-ins must have been imported: no folder is believed to name them. Raises `ConfigError` where they were not.
    """
    sweep = expect_sweep(path)
    expect_components(sweep, todo_of(sweep, sweep.jobs.values(), retry_failed=True))

    def work() -> int:
        jobs = list(sweep.jobs.values())
        todo = todo_of(sweep, jobs, retry_failed=True)
        sweep.commands.append({"at": now(), "command": f"dlrun sweep retry {path}", "jobs": len(todo)})
        code = run_jobs(sweep, None, jobs, todo, argv=argv or ["sweep", "retry", path], quiet=quiet)
        say_what_is_left(sweep)
        return code

    return held(sweep, work)


def say_what_is_left(sweep: SweepDir) -> None:
    """After a retry: the trials that a search has not begun; only its own command knows how."""
    if sweep.settings["search"] == "grid":
        return
    begun = sum(job.trial is not None for job in sweep.jobs.values())
    total = min(sweep.settings["trials"], size(sweep.search["space"]))
    if begun < total:
        with ignore_closed_stdout():
            say(f"{begun} of {total} trials were begun; the others:  {words_to_go_on(sweep)}")


def expect_components(sweep: SweepDir, jobs: Iterable[FrozenJob]) -> None:
    """Raise `ConfigError` if jobs need components that nothing has registered: they would all fail at once."""
    choices = current_schema()
    problems = [problem for job in jobs for problem in not_registered(job.values, choices)]
    if problems:
        problems.append(Problem("sweep retry", "nothing was started.", f"Write: {retry_words(sweep)}"))
        raise ConfigError(list(dict.fromkeys(problems)))


def stop_command(path: str) -> int:
    """End a running sweep: its jobs write their checkpoints. Returns 0; raises `RunError` when it does not end."""
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
    say(f"Stopped. Go on with:  {words_to_go_on(sweep)}" if sweep.jobs else "Stopped before its first job.")
    return 0

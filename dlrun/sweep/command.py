"""`dlrun -m ...`: plan a sweep and run its jobs. The commands for existing sweeps are in manage.py."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Thread
from typing import Any

from dlrun.components.plugins import loaded
from dlrun.config.expand import Expansion
from dlrun.config.job import Job
from dlrun.errors import TrainingFailed, cannot_write
from dlrun.plain import say
from dlrun.processes import collecting_rarely
from dlrun.run.signals import EXIT_CODES, Interrupted, Signals
from dlrun.store.claim import is_at_fault
from dlrun.store.files import now
from dlrun.sweep import plan
from dlrun.sweep.drawing import import_figures
from dlrun.sweep.drive import Drive
from dlrun.sweep.ending import EXIT_FAILED, conclude
from dlrun.sweep.executors.base import Executor
from dlrun.sweep.executors.choose import make_executor
from dlrun.sweep.executors.local import LocalExecutor
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import Frozen, freeze_jobs, new_job, refresh, remove_renewed
from dlrun.sweep.names import job_words
from dlrun.sweep.places import folder_of
from dlrun.sweep.protocol import Protocol, options_of
from dlrun.sweep.refusals import refuse_impossible, refuse_useless
from dlrun.sweep.samplers.search import Pruned, Search, make_sampler
from dlrun.sweep.samplers.space import refuse_unsearchable, search_space, set_search
from dlrun.sweep.screen import SweepScreen, ignore_closed_stdout
from dlrun.sweep.source import Jobs, Source
from dlrun.sweep.state import Record, command_to_continue, counts, states_of_jobs, todo_of, write_status
from dlrun.sweep.tuned import write_tuning

MOST_EQUAL_JOBS = 5  # jobs that a note names as equal to another


@collecting_rarely()
def sweep_command(
    expansion: Expansion, *, overrides: Sequence[str], argv: Sequence[str], quiet: bool, flags: Sequence[str] = ()
) -> int:
    """Run, continue or (with `sweep.dry_run=true`) plan the sweep of a command. Returns 0 only if every job finished.

    `flags` are the flags of the command that a job run alone needs as well (`--plugin FILE`, `--config-dir DIR`).

    Raises `ConfigError` for impossible jobs, `RunError` when the folder cannot be used.
    """
    refuse_useless(overrides, expansion.swept)
    settings = expansion.config.section("sweep")
    sweep = SweepDir(folder_of(expansion, settings))
    if settings["dry_run"]:
        return dry_run(expansion, settings)
    refuse_impossible(expansion, settings)

    def work() -> int:
        sweep.settings, sweep.flags = settings, tuple(flags)
        jobs, todo = prepare(sweep, expansion, settings, quiet=quiet)
        sweep.commands.append({"at": now(), "command": shlex.join(["dlrun", *argv]), "jobs": len(jobs)})
        return run_jobs(sweep, expansion, jobs, todo, argv=argv, quiet=quiet)

    return with_lock(sweep, work)


def with_lock(sweep: SweepDir, work: Callable[[], int]) -> int:
    """Call `work` while this process holds the folder, which is removed if it was made for nothing."""
    sweep.open()
    try:
        with Signals():
            return work()
    except Interrupted as stopped:
        say(f"\nStopped by {stopped}; the same command goes on.", file=sys.stderr)
        return stopped.exit_code
    except OSError as error:
        if not is_at_fault(sweep.path, error):
            raise
        text = f"{cannot_write(sweep.path, error)} The same command goes on when that is mended."
        raise TrainingFailed(text, "disk_full") from error
    finally:
        sweep.remove_unused()
        sweep.close()


def dry_run(expansion: Expansion, settings: dict[str, Any]) -> int:
    """Try every job and print the plan. Returns 2 for invalid jobs (unless they are skipped), 3 for other failures."""
    if not expansion.jobs:
        refuse_unsearchable(search_space(expansion), settings)
    jobs = expansion.jobs or [some_job(expansion)]
    budget = settings["budget"] and (int(settings["budget"]), int(settings["repeat"]), len(options_of(expansion)))
    scratch = SweepDir("dry-run")
    frozen = freeze_jobs(scratch, expansion, jobs)
    print_notes(expansion, frozen, settings)
    tried = plan.try_jobs(list(frozen.jobs.values()), settings, plugin_files())
    searching = expansion.jobs != jobs
    space = search_space(expansion)
    trials = int(min(settings["trials"], space.size)) * len(space.repeats) if searching else None
    plan.print_plan(tried, settings, trials, budget or None)
    if any(one.impossible for one in tried) and not settings["skip_invalid"]:
        return 2
    return EXIT_FAILED if any(one.failure and not one.impossible for one in tried) else 0


def prepare(
    sweep: SweepDir, expansion: Expansion, settings: dict[str, Any], *, quiet: bool
) -> tuple[list[FrozenJob], list[FrozenJob]]:
    """Freeze the jobs of this command. Returns all of them, and those that are still to be run."""
    if settings["budget"]:
        return [], []  # a protocol freezes its own
    if settings["search"] != "grid":
        set_search(sweep, expansion, settings)
        today = trials_today(sweep, expansion)
    else:
        today = expansion.jobs
    frozen = freeze_jobs(sweep, expansion, today)
    if not quiet:
        with ignore_closed_stdout():
            print_notes(expansion, frozen, settings)
    if settings["refresh"]:
        refresh(sweep, expansion, frozen)
    if settings["search"] != "grid":
        return list(sweep.jobs.values()), []
    jobs = list(frozen.jobs.values())
    return jobs, todo_of(sweep, jobs, retry_failed=settings["retry_failed"], known=frozen.states)


def print_notes(expansion: Expansion, frozen: Frozen, settings: dict[str, Any]) -> None:
    """Print notes on repeated values, on jobs with equal configurations and on stale jobs."""
    for word in expansion.repeated:
        say(f"note: {word} is given more than once: it is run once")
    for label, other in [*frozen.same.items()][:MOST_EQUAL_JOBS] if settings["search"] == "grid" else ():
        say(f"note: {label} is the same as {other}: one job is run for both")
    if len(frozen.same) > MOST_EQUAL_JOBS and settings["search"] == "grid":
        say(f"note: the same holds for {len(frozen.same) - MOST_EQUAL_JOBS} more jobs")
    if frozen.stale.jobs and not settings["refresh"]:
        what = "what is done stays, the rest goes on as it was frozen: sweep.refresh=true runs all anew"
        say(f"{frozen.stale}; {what}")


def trials_today(sweep: SweepDir, expansion: Expansion) -> list[Job]:
    """The trials so far that have the fixed overrides of this command, composed again."""

    def identifying(job: FrozenJob, fixed: Sequence[str]) -> tuple[str, ...]:
        return job_words(fixed, job.swept, expansion.schema)

    trials = [job for job in sweep.jobs.values() if job.trial is not None]
    return [expansion.job(j.swept) for j in trials if identifying(j, j.fixed) == identifying(j, expansion.overrides)]


def run_jobs(
    sweep: SweepDir,
    expansion: Expansion | None,
    jobs: list[FrozenJob],
    todo: list[FrozenJob],
    *,
    argv: Sequence[str],
    quiet: bool,
) -> int:
    """Run the jobs and write the reports. Returns the exit code."""
    screen = SweepScreen(quiet=quiet)
    source = make_source(sweep, expansion, todo)
    screen.note(f"sweep  {sweep.path}", style="bold")
    for note in source.notes if isinstance(source, Protocol) else ():
        screen.note(f"note: {note}")
    left = announce(screen, source, jobs, todo)
    executor = ready_executor(sweep, expansion, source, todo, screen) if left else None
    with ExitStack() as failed:  # `Drive.run` closes the executor; until then, what fails does
        if executor is not None:
            failed.callback(executor.close)
        remove_renewed(sweep)
        sweep.write()
        failed.pop_all()
    prune = sweep.settings["pruner"] != "none" and not isinstance(source, Jobs)
    number = None
    if executor is not None:
        number = Drive(sweep, executor, source, screen, argv=argv, plugins=plugin_files(), prune=prune).run()
    if isinstance(source, Protocol):
        jobs = source.jobs
        write_tuning(source)
    if isinstance(source, Search):
        jobs = list(sweep.jobs.values())
        if source.exhausted:
            screen.note(f"the search ends after {len(source.jobs)} jobs: all further values were tried before")
    records = states_of_jobs(sweep)
    write_status(sweep, records)
    if number is not None:
        return interrupted(sweep, jobs, records, number)
    return conclude(sweep, jobs, records, quiet=quiet, protocol=source if isinstance(source, Protocol) else None)


def announce(screen: SweepScreen, source: Source, jobs: list[FrozenJob], todo: list[FrozenJob]) -> int:
    """Print `24 jobs, 3 to run, 1 impossible`. Returns how many are to be run."""
    if isinstance(source, Search | Protocol):
        impossible, total, done = 0, source.total, source.done
    else:
        impossible = sum(bool(job.invalid) for job in jobs)
        total = len(jobs) - impossible
        done = total - len(todo)
    words = f"{total + impossible} job{'s' if total + impossible != 1 else ''}, {total - done} to run"
    words += f", {impossible} impossible" if impossible else ""
    words += " (every combination there is)" if isinstance(source, Search) and source.all_of_them else ""
    screen.note(words)
    screen.expect(total, done)
    return total - done


def ready_executor(
    sweep: SweepDir, expansion: Expansion | None, source: Source, todo: list[FrozenJob], screen: SweepScreen
) -> Executor:
    """Make the executor. A local one first builds a job of each kind: raises `ConfigError` for invalid jobs."""
    jobs = todo
    if isinstance(source, Protocol):
        jobs = source.queue
    elif expansion is not None and sweep.settings["search"] != "grid":
        jobs = [new_job(sweep, "sample", expansion, some_job(expansion), "")]
    if sweep.settings["executor"] == "local" and len(jobs) > 1:
        Thread(target=import_figures, daemon=True).start()  # while the server of the jobs imports torch
    executor = make_executor(sweep.settings, [job.config for job in plan.unlike(jobs)], sweep.state)
    try:
        begun = {job.slug for job in jobs if sweep.run(job.slug).status.exists()} - sweep.renewed
        new = [job for job in jobs if not job.invalid and job.slug not in begun]
        if expansion is not None and not sweep.settings["skip_invalid"]:
            check_first(executor, new, screen)
    except BaseException:
        executor.close()
        raise
    return executor


def check_first(executor: Executor, jobs: list[FrozenJob], screen: SweepScreen) -> None:
    """Build one job of each kind, unless the executor uses other machines, which may have other data and devices."""
    if isinstance(executor, LocalExecutor):
        plan.check_kinds(executor, jobs, plugin_files(), screen.note)


def some_job(expansion: Expansion) -> Job:
    """A job of a search, at the first choice of each list and the low end of each range."""
    return expansion.job({key: s[0] if isinstance(s, list) else s.low for key, s in expansion.spaces[0].items()})


def make_source(sweep: SweepDir, expansion: Expansion | None, todo: list[FrozenJob]) -> Source:
    """The source of the jobs: a list, a list with pruning, or a search."""
    settings = sweep.settings
    if expansion is not None and settings["budget"]:
        return Protocol(sweep, expansion)
    if settings["search"] == "grid" and settings["pruner"] != "none" and todo:
        return Pruned(sweep, todo, make_sampler(settings, [{}], todo[0].config.seed, sweep))
    if expansion is None or settings["search"] == "grid":
        return Jobs(todo)
    if expansion.left_out:
        say(f"note: left out of the search, being impossible: {', '.join(expansion.left_out)}", file=sys.stderr)
    sampler = make_sampler(settings, search_space(expansion).grids, expansion.config.seed, sweep)
    return Search(sweep, expansion, sampler, retry_failed=settings["retry_failed"])


def plugin_files() -> list[str]:
    """The plug-ins of this process, by the names under which another process imports them."""
    return [record.reference for record in loaded()]


def interrupted(sweep: SweepDir, jobs: list[FrozenJob], records: dict[str, Record], number: int) -> int:
    """Print how many jobs are in which state and how to continue. Returns the exit code of the signal."""
    words = ", ".join(f"{count} {state}" for state, count in counts(records[job.slug] for job in jobs).items())
    with ignore_closed_stdout():
        say(f"\nStopped by {signal.Signals(number).name}: {words}.")
        same = " the same command, or" if sweep.settings["search"] == "grid" else ""
        say(f"Go on with{same}:  {command_to_continue(sweep)}")
    return EXIT_CODES[signal.Signals(number)]

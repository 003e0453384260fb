"""`dlrun -m ...`: from words to a sweep that is driven to its end. What comes later is in manage.py."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from dlrun.components.plugins import loaded
from dlrun.config.expand import Expansion, Job
from dlrun.config.schema.words import key_of
from dlrun.errors import ConfigError, Problem, TrainingFailed, cannot_write
from dlrun.plain import say
from dlrun.run.signals import EXIT_CODES, Interrupted, Signals
from dlrun.store.claim import is_at_fault
from dlrun.store.files import now
from dlrun.sweep import plan
from dlrun.sweep.drive import Drive
from dlrun.sweep.ending import EXIT_FAILED, conclude
from dlrun.sweep.executors.base import Executor
from dlrun.sweep.executors.choose import make_executor
from dlrun.sweep.executors.local import LocalExecutor
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import Frozen, forget, freeze_jobs, new_job, refresh
from dlrun.sweep.names import job_words
from dlrun.sweep.places import folder_of
from dlrun.sweep.samplers.search import Pruned, Search, make_sampler, remember_space, size
from dlrun.sweep.screen import SweepScreen, ignore_closed_stdout
from dlrun.sweep.source import Jobs, Source
from dlrun.sweep.state import DONE, Record, counts, read_record, state_of_job, words_to_go_on, write_status

MOST_NAMED = 5  # jobs that a note names as equal to another
INSTEAD = {"run.dir": "sweep.dir", "run.name": "sweep.name", "run.overwrite": "sweep.refresh=true"}


def sweep_command(
    expansion: Expansion, *, overrides: Sequence[str], argv: Sequence[str], quiet: bool, flags: Sequence[str] = ()
) -> int:
    """Run (or go on with, or plan) the sweep that a command describes. Returns 0 only if every job finished.

    `flags` are those that its jobs alone need, too (`--plugin FILE`, `--config-dir DIR`).

    Raises `ConfigError` for impossible jobs, `RunError` when the folder cannot be used.
    """
    refuse_words(overrides, expansion.swept)
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

    return held(sweep, work)


def held(sweep: SweepDir, work: Callable[[], int]) -> int:
    """Do the work while this process holds the folder. A folder that was made for a sweep which never began goes."""
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
        sweep.unmake()
        sweep.close()


def refuse_words(overrides: Sequence[str], swept: Iterable[str]) -> None:
    """Raise `ConfigError` for words that would do nothing: on the place of one run, or on what is swept already."""
    given = {key_of(word) for word in overrides}
    problems = [
        Problem(key, "is for one run: each job of a sweep has its folder.", f"For the sweep: {INSTEAD.get(key, '')}")
        for key in dict.fromkeys([*(key_of(word) for word in overrides), *swept])
        if key.startswith("run.")
    ]
    for key in sorted(given):
        if key.startswith("sweep.params.") and (other := key.removeprefix("sweep.params.")) in given:
            problems.append(Problem(key, f"does nothing beside {other}=...", "Give one of them."))
    if problems:
        raise ConfigError(problems)


def refuse_impossible(expansion: Expansion, settings: dict[str, Any]) -> None:
    """Raise `ConfigError` naming every job whose configuration is impossible, unless these are to be left out."""
    bad = [job for job in expansion.jobs if job.config is None]
    if not bad or settings["skip_invalid"]:
        return
    words = {job.overrides: " ".join(job.overrides[len(expansion.overrides) :]) for job in bad}
    found: dict[Problem, list[str]] = {}  # the jobs by what is wrong with them
    for job in bad:
        for problem in job.problems:
            found.setdefault(problem, []).append(words[job.overrides])
    problems = []
    for problem, (first, *more) in found.items():
        others = f" (and {len(more)} more jobs)" if more else ""
        problems.append(replace(problem, key=f"{first}{others}: {problem.key}"))
    text = f"{len(bad)} of {len(expansion.jobs)} jobs cannot be run; nothing was started."
    problems.append(Problem("sweep", text, "sweep.skip_invalid=true goes on without them."))
    raise ConfigError(problems)


def dry_run(expansion: Expansion, settings: dict[str, Any]) -> int:
    """Try every job, print the plan. 2 for impossible jobs (unless they are to be skipped), 3 for others that fail."""
    jobs = expansion.jobs or [some_job(expansion)]
    scratch = SweepDir("dry-run")
    frozen = freeze_jobs(scratch, expansion, jobs)
    say_of_jobs(expansion, frozen, settings)
    tried = plan.try_jobs(list(frozen.jobs.values()), settings, plugin_files())
    searching = expansion.jobs != jobs
    plan.print_plan(tried, settings, int(min(settings["trials"], size(expansion.swept))) if searching else None)
    if any(one.impossible for one in tried) and not settings["skip_invalid"]:
        return 2
    return EXIT_FAILED if any(one.failure and not one.impossible for one in tried) else 0


def middle(space: Any) -> Any:
    """Any one value of a space."""
    return space[0] if isinstance(space, list) else space.low


def prepare(
    sweep: SweepDir, expansion: Expansion, settings: dict[str, Any], *, quiet: bool
) -> tuple[list[FrozenJob], list[FrozenJob]]:
    """The frozen jobs of this command, and those of them that are to be run."""
    if settings["search"] != "grid":
        remember_space(sweep, expansion, settings)
        today = trials_today(sweep, expansion)
    else:
        today = expansion.jobs
    frozen = freeze_jobs(sweep, expansion, today)
    if not quiet:
        with ignore_closed_stdout():
            say_of_jobs(expansion, frozen, settings)
    if settings["refresh"]:
        refresh(sweep, expansion, frozen)
    if settings["search"] != "grid":
        return list(sweep.jobs.values()), []
    jobs = list(frozen.jobs.values())
    return jobs, todo_of(sweep, jobs, retry_failed=settings["retry_failed"])


def say_of_jobs(expansion: Expansion, frozen: Frozen, settings: dict[str, Any]) -> None:
    """Name the values that were given several times, the jobs whose configuration another has, too, and stale ones."""
    for word in expansion.repeated:
        say(f"note: {word} is given more than once: it is run once")
    for label, other in [*frozen.same.items()][:MOST_NAMED] if settings["search"] == "grid" else ():
        say(f"note: {label} is the same as {other}: one job is run for both")
    if len(frozen.same) > MOST_NAMED and settings["search"] == "grid":
        say(f"note: so it is with {len(frozen.same) - MOST_NAMED} more jobs")
    if frozen.stale.jobs and not settings["refresh"]:
        what = "what is done stays, the rest goes on as it was frozen: sweep.refresh=true runs all anew"
        say(f"{frozen.stale}; {what}")


def trials_today(sweep: SweepDir, expansion: Expansion) -> list[Job]:
    """The trials of this search so far, composed again."""
    trials = [job for job in sweep.jobs.values() if job.trial is not None]
    mine = [job for job in trials if same_words(job, expansion)]
    return [expansion.job(job.swept) for job in mine]


def same_words(job: FrozenJob, expansion: Expansion) -> bool:
    """Was the job asked for by the fixed words of this command, as far as they change its result?"""
    then, now = (job_words(fixed, job.swept, expansion.schema) for fixed in (job.fixed, expansion.overrides))
    return then == now


def todo_of(sweep: SweepDir, jobs: Iterable[FrozenJob], *, retry_failed: bool) -> list[FrozenJob]:
    """The jobs that are not done yet."""
    todo = []
    for job in jobs:
        state = state_of_job(sweep, job, read_record(sweep, job.slug)).state
        if not job.invalid and state not in DONE and (retry_failed or state != "failed"):
            todo.append(job)
    return todo


def run_jobs(
    sweep: SweepDir,
    expansion: Expansion | None,
    jobs: list[FrozenJob],
    todo: list[FrozenJob],
    *,
    argv: Sequence[str],
    quiet: bool,
) -> int:
    """Drive the jobs to their end and conclude. Returns the exit code."""
    screen = SweepScreen(quiet=quiet)
    source = make_source(sweep, expansion, todo)
    screen.note(f"sweep  {sweep.path}", style="bold")
    left = announce(screen, source, jobs, todo)
    executor = ready_executor(sweep, expansion, todo, screen) if left else None
    forget(sweep)
    sweep.write()
    number = drive(sweep, executor, source, screen, argv) if executor else None
    if isinstance(source, Search):
        jobs = list(sweep.jobs.values())
        if number is None and len(source.jobs) < source.total:
            screen.note(f"the search ends after {len(source.jobs)} jobs: only values came up that it has tried")
    records = {job.slug: state_of_job(sweep, job, read_record(sweep, job.slug)) for job in sweep.jobs.values()}
    write_status(sweep, records)
    if number is not None:
        return interrupted(sweep, jobs, records, number)
    return conclude(sweep, jobs, records, quiet=quiet)


def announce(screen: SweepScreen, source: Source, jobs: list[FrozenJob], todo: list[FrozenJob]) -> int:
    """`24 jobs, 3 to run, 1 impossible`; returns how many are to be run."""
    searching = isinstance(source, Search)
    impossible = 0 if searching else sum(bool(job.invalid) for job in jobs)
    total = source.total if isinstance(source, Search) else len(jobs) - impossible
    done = source.done if isinstance(source, Search) else total - len(todo)
    words = f"{total + impossible} job{'s' if total + impossible != 1 else ''}, {total - done} to run"
    words += f", {impossible} impossible" if impossible else ""
    words += " (every combination there is)" if isinstance(source, Search) and source.all_of_them else ""
    screen.note(words)
    screen.expect(total, done)
    return total - done


def ready_executor(
    sweep: SweepDir, expansion: Expansion | None, todo: list[FrozenJob], screen: SweepScreen
) -> Executor:
    """The executor; on this machine, after one job of each kind was built. Raises `ConfigError` for impossible ones."""
    jobs = todo
    if expansion is not None and sweep.settings["search"] != "grid":
        jobs = [new_job(sweep, "sample", expansion, some_job(expansion), "")]
    executor = make_executor(sweep.settings, [job.config for job in jobs], sweep.state)
    begun = {job.slug for job in jobs if sweep.run(job.slug).status.exists()} - sweep.renewed
    new = [job for job in jobs if not job.invalid and job.slug not in begun]
    try:
        if expansion is not None and not sweep.settings["skip_invalid"]:
            check_first(executor, new, screen)
    except BaseException:
        executor.close()
        raise
    return executor


def check_first(executor: Executor, jobs: list[FrozenJob], screen: SweepScreen) -> None:
    """Build some jobs, if the executor works on this machine: elsewhere, there may be other data and devices."""
    if isinstance(executor, LocalExecutor):
        plan.check_kinds(executor, jobs, plugin_files(), screen.note)


def some_job(expansion: Expansion) -> Job:
    """Any one job of a search."""
    return expansion.job({key: middle(space) for key, space in expansion.swept.items()})


def make_source(sweep: SweepDir, expansion: Expansion | None, todo: list[FrozenJob]) -> Source:
    """Where the jobs come from."""
    settings = sweep.settings
    if settings["search"] == "grid" and settings["pruner"] != "none" and todo:
        return Pruned(sweep, todo, make_sampler(settings, {}, todo[0].config.seed, sweep))
    if expansion is None or settings["search"] == "grid":
        return Jobs(todo)
    if expansion.left_out:
        say(f"note: left out of the search, being impossible: {', '.join(expansion.left_out)}", file=sys.stderr)
    sampler = make_sampler(settings, expansion.swept, expansion.config.seed, sweep)
    return Search(sweep, expansion, sampler, retry_failed=settings["retry_failed"])


def drive(sweep: SweepDir, executor: Executor, source: Source, screen: SweepScreen, argv: Sequence[str]) -> int | None:
    """Run the jobs of the source. Returns the signal that ended it early, if one did."""
    prune = sweep.settings["pruner"] != "none" and not isinstance(source, Jobs)
    return Drive(sweep, executor, source, screen, argv=argv, plugins=plugin_files(), prune=prune).run()


def plugin_files() -> list[str]:
    """The plug-ins of this process, as another one imports them."""
    return [record.reference for record in loaded()]


def interrupted(sweep: SweepDir, jobs: list[FrozenJob], records: dict[str, Record], number: int) -> int:
    """Say what is done and how to go on."""
    words = ", ".join(f"{count} {state}" for state, count in counts(records[job.slug] for job in jobs).items())
    with ignore_closed_stdout():
        say(f"\nStopped by {signal.Signals(number).name}: {words}.")
        same = " the same command, or" if sweep.settings["search"] == "grid" else ""
        say(f"Go on with{same}:  {words_to_go_on(sweep)}")
    return EXIT_CODES[signal.Signals(number)]

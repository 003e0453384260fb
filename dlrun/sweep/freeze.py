"""Freezing jobs: each job of a command is found again among those of the folder, or frozen now."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dlrun.config.config import Config, identity_of
from dlrun.config.expand import Expansion
from dlrun.config.job import Job
from dlrun.config.schema.schema import Schema
from dlrun.config.section import Section, derived, flat_values, thaw
from dlrun.plain import Values
from dlrun.store.marks import is_run
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.identity import code_hash, data_hash
from dlrun.sweep.names import job_slug, job_words, last_words
from dlrun.sweep.state import DONE, Record, states_of_jobs

ABSENT = object()


@dataclass
class Stale:
    """Frozen jobs that would give other results today, with the reasons."""

    jobs: dict[str, list[str]] = field(default_factory=dict)  # slug: reasons

    def __str__(self) -> str:
        """`stale: 3 jobs (configuration 1, code 3)`."""
        reasons = [reason for found in self.jobs.values() for reason in found]
        counted = ", ".join(f"{reason} {reasons.count(reason)}" for reason in dict.fromkeys(reasons))
        return f"stale: {len(self.jobs)} job{'s' if len(self.jobs) > 1 else ''} (changed since: {counted})"


@dataclass
class Frozen:
    """The jobs of a command by slug: `jobs` as they are frozen, `today` as they are composed now.

    `same` maps the label of each job that is left out to that of the job with an equal configuration. `states` are the
    records of the jobs that were in the folder before.
    """

    jobs: dict[str, FrozenJob] = field(default_factory=dict)
    today: dict[str, Job] = field(default_factory=dict)
    stale: Stale = field(default_factory=Stale)
    same: dict[str, str] = field(default_factory=dict)
    states: dict[str, Record] = field(default_factory=dict)


class KnownJobs:
    """The frozen jobs of a folder, found by their resolved configuration or else by their overrides."""

    def __init__(self, sweep: SweepDir, schema: Schema) -> None:
        self.schema = schema
        self.by_words: dict[tuple[str, ...], FrozenJob] = {}
        self.by_result: dict[object, FrozenJob] = {}
        self.results: dict[str, tuple[FrozenJob, object]] = {}  # by slug, of those that were needed
        self.unread: list[FrozenJob] = []  # jobs that are not in `by_result` yet
        for job in sweep.jobs.values():
            self.add(job)

    def add(self, job: FrozenJob, config: Config | None = None) -> None:
        """Add a job, or the new overrides of a known one, with its configuration if that is at hand."""
        self.by_words[job_words(job.fixed, job.swept, self.schema)] = job
        if config is not None:
            self.by_result.setdefault(self.result(config, job.swept), job)
        elif not job.invalid:
            self.unread.append(job)

    def find(self, fixed: Sequence[str], job: Job) -> FrozenJob | None:
        """The frozen job with the same configuration or, if there is none, with the same overrides."""
        found = self.by_words.get(job_words(fixed, job.swept, self.schema))
        if job.config is None or (found is not None and self.is_same(found, job)):
            return found
        for frozen in self.unread:  # only now: it takes longer than finding all jobs of the same command again
            self.by_result.setdefault(self.result_of(frozen), frozen)
        self.unread = []
        return self.by_result.get(self.result(job.config, job.swept), found)

    def is_same(self, frozen: FrozenJob, job: Job) -> bool:
        """Whether the frozen job and today's job give the same result."""
        if job.config is None or frozen.invalid:
            return False
        if frozen.swept.keys() == job.swept.keys() and equal_but_for_sweep(frozen.values, job.config.shared()):
            return True
        return self.result_of(frozen) == self.result(job.config, job.swept)

    def result_of(self, frozen: FrozenJob) -> object:
        """The result of a frozen job, as of today's keys."""
        known, found = self.results.get(frozen.slug, (None, None))
        if known is not frozen:
            found = self.result(Config.stored(frozen.values, self.schema), frozen.swept)
            self.results[frozen.slug] = frozen, found
        return found

    def result(self, config: Config, swept: Iterable[str]) -> object:
        """The identity of a job, and the values of swept keys that do not change results.

        The latter are included so that a sweep over such a key (`device.threads=1,2`) has a job for each value.
        """
        names = tuple(swept)

        def found(_: Section) -> object:
            apart = [pair for name in names for pair in self.apart(config, name)]
            return identity_of(config, self.schema), repr(sorted(dict(apart).items()))

        return derived(config, (KnownJobs, self.schema, names), found)

    def apart(self, config: Config, name: str) -> list[tuple[str, object]]:
        """The values of a swept key or section that do not change results, by dotted key."""

        def chosen(values: Mapping[str, object]) -> list[tuple[str, object]]:
            effect = self.schema.effect
            return [(key, item) for key, item in values.items() if not effect(key, config).changes_result]

        value = config.get(name, ABSENT)
        if not isinstance(value, Section) or not value:
            return [] if value is ABSENT else chosen({name: thaw(value)})
        found = {f"{name}.{key}": item for key, item in flat_values(value).items()}
        return chosen(found)


def equal_but_for_sweep(one: Values, other: Values) -> bool:
    """Whether configurations are equal in all sections but that of the sweep, none of whose keys changes a result."""
    return {**one, "sweep": None} == {**other, "sweep": None}


def freeze_jobs(sweep: SweepDir, expansion: Expansion, jobs: Iterable[Job]) -> Frozen:
    """Find or freeze each job, in order, and list stale ones. New jobs are added to `sweep.jobs`."""
    known = KnownJobs(sweep, expansion.schema)
    keys, fixed = list(expansion.swept), expansion.overrides
    taken = {slug.lower() for slug in sweep.jobs}
    frozen = Frozen(states=states_of_jobs(sweep))
    data: dict[int, str] = {}  # hashes by dataset section, which the jobs share
    for job in jobs:
        section = id(job.config.dataset) if job.config else 0
        if section not in data:
            data[section] = data_of(job)
        found = known.find(fixed, job)
        if found is not None and found.slug in frozen.jobs:
            frozen.same[job.label(fixed)] = frozen.today[found.slug].label(fixed)
            continue
        if found is None or (found.invalid and job.config):
            slug = found.slug if found else job_slug(job.swept, keys, taken)
            taken.add(slug.lower())
            found = new_job(sweep, slug, expansion, job, data[section])
            known.add(found, job.config)
        elif is_reworded(sweep, known, found, job, frozen.states[found.slug]):
            found = new_job(sweep, found.slug, expansion, job, data[section], found.trial)
            known.add(found, job.config)
        elif reasons := stale_reasons(sweep, known, found, job, data[section], frozen.states[found.slug]):
            frozen.stale.jobs[found.slug] = reasons
        sweep.jobs[found.slug] = frozen.jobs[found.slug] = found
        frozen.today[found.slug] = job
    return frozen


def data_of(job: Job) -> str:
    """The hash of a job's data files; empty for an invalid job."""
    return data_hash(dict(job.config.dataset)) if job.config else ""


def new_job(
    sweep: SweepDir, slug: str, expansion: Expansion, job: Job, data: str, trial: int | None = None
) -> FrozenJob:
    """Freeze a job as it is composed now, with the flags and the folder of the present command."""
    values = job.config.shared() if job.config else {}
    identity = identity_of(job.config, expansion.schema) if job.config else ""
    invalid = "; ".join(str(problem) for problem in job.problems) if not job.config else ""
    return FrozenJob(
        slug, expansion.overrides, dict(job.swept), job.overrides, values, identity, data, trial, invalid,
        sweep.flags, sweep.folder,
    )  # fmt: skip


def is_reworded(sweep: SweepDir, known: KnownJobs, frozen: FrozenJob, job: Job, record: Record) -> bool:
    """Whether an unfinished job has other overrides or flags today that do not change its results.

    These are about what is saved, logged or shown, for instance. Such a job is frozen again.
    """
    same = job_overrides(frozen.overrides) == job_overrides(job.overrides) and frozen.flags == sweep.flags
    if same or frozen.invalid or not known.is_same(frozen, job):
        return False
    return record.state not in DONE


def job_overrides(overrides: Iterable[str]) -> dict[str, str]:
    """The overrides that are in effect, by key, without those of the sweep itself."""
    return {key: word for key, word in last_words(overrides).items() if not key.startswith("sweep.")}


def stale_reasons(
    sweep: SweepDir, known: KnownJobs, frozen: FrozenJob, job: Job, data: str, record: Record
) -> list[str]:
    """What differs between a frozen job and today's: the configuration and, if it has run at least in part, the code
    and the data.
    """
    reasons = []
    if not frozen.invalid and not known.is_same(frozen, job):
        reasons.append("configuration")
    if record.state in DONE or sweep.run(frozen.slug).has_checkpoint:
        if record.code and record.code != code_hash():
            reasons.append("code")
        if job.config is not None and data != frozen.data:
            reasons.append("data")
    return reasons


def refresh(sweep: SweepDir, expansion: Expansion, frozen: Frozen) -> None:
    """Freeze stale jobs again as they are today (`sweep.refresh=true`). Their runs stay until `remove_renewed`.

    A job of a search keeps its trial, which holds its values; a job of a pruned grid gets a new one.
    """
    for slug in frozen.stale.jobs:
        job = frozen.today[slug]
        trial = sweep.jobs[slug].trial if sweep.search else None
        sweep.jobs[slug] = frozen.jobs[slug] = new_job(sweep, slug, expansion, job, data_of(job), trial)
        sweep.renewed.add(slug)


def remove_renewed(sweep: SweepDir) -> None:
    """Remove the runs and records of the jobs that were frozen again.

    Call it after all checks and before sweep.yaml is written: a sweep that is killed in between must not find old
    results under new configurations.
    """
    for slug in sweep.renewed:
        if is_run(sweep.run(slug).path):
            shutil.rmtree(sweep.run(slug).path, ignore_errors=True)
        with suppress(FileNotFoundError):
            (sweep.state / f"{slug}.json").unlink()
    sweep.renewed.clear()

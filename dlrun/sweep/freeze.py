"""From what a command asks for today to frozen jobs: found again in the folder, or frozen now."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dlrun.config.config import Config, identity_of
from dlrun.config.expand import Expansion, Job
from dlrun.config.schema.schema import Schema
from dlrun.store.marks import is_run
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.identity import code_hash, data_hash
from dlrun.sweep.names import job_slug, job_words, last_words
from dlrun.sweep.state import DONE, read_record, state_of_job


@dataclass
class Stale:
    """Jobs of the folder that would be different today, by the reason."""

    jobs: dict[str, list[str]] = field(default_factory=dict)  # slug: reasons

    def __str__(self) -> str:
        """`stale: 3 jobs (configuration 1, code 3)`."""
        reasons = [reason for found in self.jobs.values() for reason in found]
        counted = ", ".join(f"{reason} {reasons.count(reason)}" for reason in dict.fromkeys(reasons))
        return f"stale: {len(self.jobs)} job{'s' if len(self.jobs) > 1 else ''} (changed since: {counted})"


@dataclass
class Frozen:
    """What a command asks for today: its jobs by name, as they are frozen and as they are composed now.

    `same` are jobs that another one stands for, because their configurations are equal: label by label.
    """

    jobs: dict[str, FrozenJob] = field(default_factory=dict)
    today: dict[str, Job] = field(default_factory=dict)
    stale: Stale = field(default_factory=Stale)
    same: dict[str, str] = field(default_factory=dict)


class KnownJobs:
    """The frozen jobs of a folder: found by what they compute, or else by the words that asked for them."""

    def __init__(self, sweep: SweepDir, schema: Schema) -> None:
        self.schema = schema
        self.by_words: dict[tuple[str, ...], FrozenJob] = {}
        self.by_result: dict[object, FrozenJob] = {}
        self.results: dict[str, object] = {}  # by slug
        for job in sweep.jobs.values():
            self.add(job)

    def add(self, job: FrozenJob) -> None:
        """Know one more job, or an old one by its new words."""
        self.by_words[job_words(job.fixed, job.swept, self.schema)] = job
        if not job.invalid:
            self.results[job.slug] = self.result(Config.stored(job.values, self.schema), job.swept)
            self.by_result.setdefault(self.results[job.slug], job)

    def find(self, fixed: Sequence[str], job: Job) -> FrozenJob | None:
        """The frozen job that has the same configuration or, if none has, that was asked for by the same words."""
        found = self.by_words.get(job_words(fixed, job.swept, self.schema))
        if job.config is None or (found is not None and self.agree(found, job)):
            return found
        return self.by_result.get(self.result(job.config, job.swept), found)

    def agree(self, frozen: FrozenJob, job: Job) -> bool:
        """Would the frozen job and today's give the same result?"""
        return job.config is not None and self.results.get(frozen.slug) == self.result(job.config, job.swept)

    def result(self, config: Config, swept: Iterable[str]) -> object:
        """What a job is found by: its identity, and the values of swept keys that are no part of it (those make jobs
        of their own: else one value would stand for all).
        """
        apart = {
            key: value
            for key, value in config.flat().items()
            if any(key == name or key.startswith(f"{name}.") for name in swept)
            and not self.schema.effect(key, config).changes_result
        }
        return identity_of(config, self.schema), repr(sorted(apart.items()))


def freeze_jobs(sweep: SweepDir, expansion: Expansion, jobs: Iterable[Job]) -> Frozen:
    """The frozen job for each of these, in order, and which of them are stale. New ones enter the sweep."""
    known = KnownJobs(sweep, expansion.schema)
    keys, fixed = list(expansion.swept), expansion.overrides
    frozen = Frozen()
    data: dict[str, str] = {}  # hashes by dataset section: most jobs share one
    for job in jobs:
        section = dict(job.config.dataset) if job.config else {}
        seen = repr(sorted(section.items(), key=str))
        if seen not in data:
            data[seen] = data_hash(section)
        found = known.find(fixed, job)
        if found is not None and found.slug in frozen.jobs:
            frozen.same[job.label(fixed)] = frozen.today[found.slug].label(fixed)
            continue
        if found is None or (found.invalid and job.config):
            slug = found.slug if found else job_slug(job.swept, keys, sweep.jobs)
            found = new_job(sweep, slug, expansion, job, data[seen])
            known.add(found)
        elif reworded(sweep, known, found, job):
            found = new_job(sweep, found.slug, expansion, job, data[seen], found.trial)
            known.add(found)
        elif reasons := changed(sweep, known, found, job, data[seen]):
            frozen.stale.jobs[found.slug] = reasons
        sweep.jobs[found.slug] = frozen.jobs[found.slug] = found
        frozen.today[found.slug] = job
    return frozen


def new_job(
    sweep: SweepDir, slug: str, expansion: Expansion, job: Job, data: str, trial: int | None = None
) -> FrozenJob:
    """Freeze one job as it is composed now, with the flags and the folder of the sweep's present command."""
    values = job.config.to_dict() if job.config else {}
    identity = identity_of(job.config, expansion.schema) if job.config else ""
    invalid = "; ".join(str(problem) for problem in job.problems) if not job.config else ""
    return FrozenJob(
        slug, expansion.overrides, dict(job.swept), job.overrides, values, identity, data, trial, invalid,
        sweep.flags, sweep.folder,
    )  # fmt: skip


def reworded(sweep: SweepDir, known: KnownJobs, frozen: FrozenJob, job: Job) -> bool:
    """Whether an unfinished job is asked for in other words today (of its saving, its logs, its flags), and would
    give the same results. Where files have changed it is stale, instead.
    """
    same = settled(frozen.overrides) == settled(job.overrides) and frozen.flags == sweep.flags
    if same or frozen.invalid or not known.agree(frozen, job):
        return False
    return state_of_job(sweep, frozen, read_record(sweep, frozen.slug)).state not in DONE


def settled(overrides: Iterable[str]) -> dict[str, str]:
    """The words that count, without those about the sweep itself."""
    return {key: word for key, word in last_words(overrides).items() if not key.startswith("sweep.")}


def changed(sweep: SweepDir, known: KnownJobs, frozen: FrozenJob, job: Job, data: str) -> list[str]:
    """In what a frozen job differs from today's: its configuration, and for one that has run, be it in part, its code
    and data.
    """
    reasons = []
    if not frozen.invalid and not known.agree(frozen, job):
        reasons.append("configuration")
    record = read_record(sweep, frozen.slug)
    done = state_of_job(sweep, frozen, record).state in DONE
    if done or sweep.run(frozen.slug).has_checkpoint:
        if record.code and record.code != code_hash():
            reasons.append("code")
        if job.config is not None and data != frozen.data:
            reasons.append("data")
    return reasons


def refresh(sweep: SweepDir, expansion: Expansion, frozen: Frozen) -> None:
    """Freeze stale jobs again as they are today: `sweep.refresh=true`. What they left stays until `forget`.

    A pruned job of a grid gets a trial of its own again; a search's trial says which values it stands for.
    """
    for slug in frozen.stale.jobs:
        job = frozen.today[slug]
        data = data_hash(dict(job.config.dataset)) if job.config else ""
        trial = sweep.jobs[slug].trial if sweep.search else None
        sweep.jobs[slug] = frozen.jobs[slug] = new_job(sweep, slug, expansion, job, data, trial)
        sweep.renewed.add(slug)


def forget(sweep: SweepDir) -> None:
    """Take away the runs and the records of the jobs that were frozen anew.

    To be called when nothing can refuse the sweep any more, and before sweep.yaml is written: a sweep that is killed in
    between must not find old results under new configurations.
    """
    for slug in sweep.renewed:
        if is_run(sweep.run(slug).path):
            shutil.rmtree(sweep.run(slug).path, ignore_errors=True)
        with suppress(FileNotFoundError):
            (sweep.state / f"{slug}.json").unlink()
    sweep.renewed.clear()

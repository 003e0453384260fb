"""From what a command asks for today to frozen jobs: found again in the folder by their overrides, or frozen now."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from dlrun.config.config import Config
from dlrun.config.expand import Expansion, Job
from dlrun.store.marks import is_run
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.identity import code_hash, data_hash
from dlrun.sweep.names import SELECTING, job_key, job_slug, key_of
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


def freeze_job(sweep: SweepDir, expansion: Expansion, jobs: Iterable[Job]) -> tuple[list[FrozenJob], Stale]:
    """The frozen job for each of these, in order, and which of them are stale. New ones enter the sweep."""
    known = {job.key: job for job in sweep.jobs.values()}
    keys = list(expansion.swept)
    frozen: list[FrozenJob] = []
    stale = Stale()
    data: dict[str, str] = {}  # hashes by dataset section: most jobs share one
    for job in jobs:
        section = dict(job.config.dataset) if job.config else {}
        seen = repr(sorted(section.items(), key=str))
        if seen not in data:
            data[seen] = data_hash(section)
        found = known.get(job_key(expansion.overrides, job.swept))
        if found is None or (found.invalid and job.config):
            slug = found.slug if found else job_slug(job.swept, keys, sweep.jobs)
            found = new_job(sweep, slug, expansion, job, data[seen])
            known[found.key] = sweep.jobs[slug] = found
        elif reworded(sweep, found, job):
            found = new_job(sweep, found.slug, expansion, job, data[seen], found.trial)
            known[found.key] = sweep.jobs[found.slug] = found
        elif reasons := changed(sweep, found, job, data[seen]):
            stale.jobs[found.slug] = reasons
        frozen.append(found)
    return list({job.slug: job for job in frozen}.values()), stale


def new_job(
    sweep: SweepDir, slug: str, expansion: Expansion, job: Job, data: str, trial: int | None = None
) -> FrozenJob:
    """Freeze one job as it is composed now, with the flags and the folder of the sweep's present command."""
    values = job.config.to_dict() if job.config else {}
    identity = job.config.identity if job.config else ""
    invalid = "; ".join(str(problem) for problem in job.problems) if not job.config else ""
    return FrozenJob(
        slug, expansion.overrides, dict(job.swept), job.overrides, values, identity, data, trial, invalid,
        sweep.flags, sweep.folder,
    )  # fmt: skip


def reworded(sweep: SweepDir, frozen: FrozenJob, job: Job) -> bool:
    """Whether an unfinished job is asked for in other words today (of its saving, its logs, its flags), and would
    give the same results. Where files have changed it is stale, instead.
    """
    same = settled(frozen.overrides) == settled(job.overrides) and frozen.flags == sweep.flags
    if same or frozen.invalid or job.config is None or results(job.config) != results(frozen.config):
        return False
    return state_of_job(sweep, frozen, read_record(sweep, frozen.slug)).state not in DONE


def settled(overrides: Iterable[str]) -> dict[str, str]:
    """The last word for each key, without those about the sweep itself."""
    words = {key_of(word): word.lstrip("+") for word in overrides}
    return {key: word for key, word in words.items() if not key.startswith("sweep.")}


def results(config: Config) -> tuple[object, ...]:
    """All that decides on a job's results: its identity, and what chooses the best epoch."""
    return config.identity, *(config.get(key) for key in SELECTING)


def changed(sweep: SweepDir, frozen: FrozenJob, job: Job, data: str) -> list[str]:
    """In what a frozen job differs from today's: its configuration, and for one that has run, be it in part, its code
    and data.
    """
    reasons = []
    if not frozen.invalid and (job.config is None or results(job.config) != results(frozen.config)):
        reasons.append("configuration")
    record = read_record(sweep, frozen.slug)
    done = state_of_job(sweep, frozen, record).state in DONE
    if done or sweep.run(frozen.slug).has_checkpoint:
        if record.code and record.code != code_hash():
            reasons.append("code")
        if job.config is not None and data != frozen.data:
            reasons.append("data")
    return reasons


def refresh(sweep: SweepDir, expansion: Expansion, jobs: Iterable[Job], stale: Stale) -> None:
    """Freeze stale jobs again as they are today: `sweep.refresh=true`. What they left stays until `forget`.

    A pruned job of a grid gets a trial of its own again; a search's trial says which values it stands for.
    """
    today = {job_key(expansion.overrides, job.swept): job for job in jobs}
    for slug in stale.jobs:
        job = today[sweep.jobs[slug].key]
        data = data_hash(dict(job.config.dataset)) if job.config else ""
        trial = sweep.jobs[slug].trial if sweep.search else None
        sweep.jobs[slug] = new_job(sweep, slug, expansion, job, data, trial)
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

"""Searching a space: jobs with values that a sampler proposes, and whose results it is told.

Each trial is a job, with its values in sweep.yaml. A search that was stopped first continues the jobs that it had
begun, and then begins new trials up to `sweep.trials`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from dlrun.config.expand import Expansion
from dlrun.config.job import Space
from dlrun.plain import Values
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import data_of, new_job
from dlrun.sweep.names import job_slug
from dlrun.sweep.samplers.base import RandomSampler, Sampler
from dlrun.sweep.samplers.optuna import OptunaSampler
from dlrun.sweep.samplers.results import by_trial, objective_value, signed
from dlrun.sweep.samplers.space import search_space
from dlrun.sweep.state import DONE, Record, state_of_job

REDRAWS = 100  # draws in search of values that were not tried yet


def make_sampler(settings: Values, spaces: Sequence[Mapping[str, Space]], seed: int, sweep: SweepDir) -> Sampler:
    """The sampler that `sweep.search` and `sweep.pruner` ask for. Raises `ConfigError` without Optuna."""
    if settings["search"] == "random" and settings["pruner"] == "none":
        return RandomSampler(spaces, seed)
    return OptunaSampler(settings["search"], settings["pruner"], spaces, seed, sweep)


class SamplerSource:
    """A source of jobs (see `source.Source`) that tells a sampler their epochs and results."""

    def __init__(self, sweep: SweepDir, sampler: Sampler) -> None:
        self.sweep, self.sampler = sweep, sampler

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        """Report the monitored metric of an epoch to the sampler. Returns whether the trial is pruned."""
        auto = read_json(self.sweep.run(job.slug).environment).get("auto") or {}
        value = row.get(str(auto.get("checkpoint.monitor")))
        trial = self.sweep.jobs[job.slug].trial
        if value is None or trial is None:
            return False
        return self.sampler.epoch(trial, int(row["epoch"]), signed(value, str(auto.get("checkpoint.mode"))))

    def ended(self, job: FrozenJob, record: Record) -> None:
        """Tell the sampler the result of a job, unless it was only stopped."""
        if record.state != "waiting":
            self.tell(job, record)

    def with_trial(self, job: FrozenJob, trial: int) -> FrozenJob:
        """The job with this trial number, which is stored in sweep.yaml."""
        if trial != job.trial:
            job = replace(job, trial=trial)
            self.sweep.jobs[job.slug] = job
            self.sweep.write()
        return job

    def tell(self, job: FrozenJob, record: Record) -> None:
        """Tell the sampler the best value of a trial, or that it failed."""
        trial = self.sweep.jobs[job.slug].trial
        if trial is not None:
            value = objective_value(StoredRun(self.sweep.run(job.slug).path)) if record.state in DONE else None
            self.sampler.tell(trial, record.state if value is not None else "failed", value)


class Pruned(SamplerSource):
    """The jobs of a grid. A pruner compares them after each epoch and ends those that are worse early."""

    def __init__(self, sweep: SweepDir, jobs: Iterable[FrozenJob], sampler: Sampler) -> None:
        super().__init__(sweep, sampler)
        self.jobs = list(jobs)
        self.total = len(self.jobs)

    def next(self) -> FrozenJob | None:
        """The next job, with a trial number."""
        if not self.jobs:
            return None
        job = self.jobs.pop(0)
        trial = self.sampler.ask(0)[0] if job.trial is None else self.sampler.again(job.trial)
        return self.with_trial(job, trial)


class Search(SamplerSource):
    """The jobs of a search: first the unfinished trials of earlier commands, then new ones.

    A trial has one job, or one for each of the seeds (and folds) that are given beside the search; the sampler is told
    the mean over them when the last one has ended.
    """

    def __init__(self, sweep: SweepDir, expansion: Expansion, sampler: Sampler, *, retry_failed: bool) -> None:
        super().__init__(sweep, sampler)
        self.expansion, self.retry_failed = expansion, retry_failed
        space = search_space(expansion)
        self.repeats = space.repeats
        self.first = [values for values in sweep.settings["start_with"] if values]
        self.trials = by_trial(sweep.jobs.values())
        wanted = int(min(sweep.settings["trials"], space.size))
        self.wanted = max(wanted, len(self.trials))
        self.all_of_them = space.size < sweep.settings["trials"]
        self.known = {self.values_of(jobs[0]) for jobs in self.trials.values()}  # of all trials
        self.taken = {slug.lower() for slug in sweep.jobs}
        self.number = max(self.trials, default=-1) + 1  # of the next trial
        self.exhausted = False  # whether the sampler found no more new values
        self.queue: list[FrozenJob] = []
        self.ends: dict[str, Record] = {}  # the records of jobs that have ended
        for jobs in list(self.trials.values()):
            self.go_on(jobs)

    def go_on(self, jobs: list[FrozenJob]) -> None:
        """Queue what an earlier command left of a trial: unfinished jobs, failed ones, and seeds that are new."""
        jobs = jobs + [self.freeze({**self.plain(jobs[0]), **more}, jobs[0].trial or 0) for more in self.lacking(jobs)]
        self.trials[jobs[0].trial or 0] = jobs
        again = []
        for job in jobs:
            record = state_of_job(self.sweep, job)
            failed = record.state == "failed" and self.retry_failed and not job.invalid
            if record.state in ("waiting", "running") or failed:
                again.append(job)
            else:
                self.ends[job.slug] = record
        if not again:
            self.tell_trial(jobs)
            return
        trial = self.sampler.again(jobs[0].trial or 0)
        if trial != jobs[0].trial:
            del self.trials[jobs[0].trial or 0]
            self.trials[trial] = jobs = [self.with_trial(job, trial) for job in jobs]
            again = [self.sweep.jobs[job.slug] for job in again]
        self.queue += again

    def lacking(self, jobs: Sequence[FrozenJob]) -> list[Values]:
        """The seeds and folds that a trial has no job for."""
        return [more for more in self.repeats if not any(more.items() <= job.swept.items() for job in jobs)]

    def plain(self, job: FrozenJob) -> Values:
        """The values of a job that the sampler chose."""
        return {key: value for key, value in job.swept.items() if not any(key in more for more in self.repeats)}

    def values_of(self, job: FrozenJob) -> str:
        """These values as text."""
        return repr(sorted(self.plain(job).items()))

    @property
    def jobs(self) -> list[FrozenJob]:
        """All jobs so far."""
        return [job for jobs in self.trials.values() for job in jobs]

    @property
    def total(self) -> int:
        """How many jobs there will be."""
        return len(self.jobs) + max(0, self.wanted - len(self.trials)) * len(self.repeats)

    @property
    def done(self) -> int:
        """How many of them have ended."""
        return len(self.ends)

    def next(self) -> FrozenJob | None:
        """An unfinished job, or one of a new trial while there are fewer than `sweep.trials`."""
        while not self.queue and len(self.trials) < self.wanted:
            jobs = self.new_trial()
            if not jobs:
                return None
            self.queue += [job for job in jobs if not job.invalid]
            for job in jobs:
                if job.invalid:
                    self.ended(job, Record(state="failed"))
        return self.queue.pop(0) if self.queue else None

    def new_trial(self) -> list[FrozenJob]:
        """Freeze the jobs of a trial with values that the sampler proposes. Empty if it finds no new values."""
        while self.first and any(self.first[0].items() <= jobs[0].swept.items() for jobs in self.trials.values()):
            self.first.pop(0)  # it was tried by an earlier command
        for attempt in range(REDRAWS):
            trial, values = self.sampler.ask(self.number + attempt, self.first[0] if self.first else None)
            if repr(sorted(values.items())) not in self.known:
                break
            self.sampler.tell(trial, "failed", None)
        else:
            self.exhausted = True
            return []
        self.first = self.first[1:]
        jobs = [self.freeze({**values, **more}, trial) for more in self.repeats]
        self.trials[trial] = jobs
        self.known.add(repr(sorted(values.items())))
        self.number = max(self.number, trial + 1)
        return jobs

    def freeze(self, values: Values, trial: int) -> FrozenJob:
        """Freeze one job of a trial."""
        job = self.expansion.job(values)
        slug = job_slug(job.swept, list(self.expansion.swept), self.taken)
        frozen = new_job(self.sweep, slug, self.expansion, job, data_of(job), trial)
        self.sweep.append(frozen)
        self.taken.add(slug.lower())
        return frozen

    def ended(self, job: FrozenJob, record: Record) -> None:
        """Tell the sampler the result of a trial whose last job has ended, unless that was only stopped."""
        if record.state == "waiting":
            return
        self.ends[job.slug] = record
        self.tell_trial(self.trials[self.sweep.jobs[job.slug].trial or 0])

    def tell_trial(self, jobs: Sequence[FrozenJob]) -> None:
        """Tell the sampler the result of a trial if all of its jobs have ended."""
        if not all(job.slug in self.ends for job in jobs):
            return
        if len(jobs) == 1:
            self.tell(jobs[0], self.ends[jobs[0].slug])
            return
        runs = [StoredRun(self.sweep.run(job.slug).path) for job in jobs if self.ends[job.slug].state in DONE]
        values = [value for run in runs if (value := objective_value(run)) is not None]
        whole = len(values) == len(jobs)
        self.sampler.tell(jobs[0].trial or 0, "finished" if whole else "failed", fmean(values) if whole else None)

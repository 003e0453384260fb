"""Searching a space: jobs with values that a sampler proposes, and whose results it is told.

Each trial is a job, with its values in sweep.yaml. A search that was stopped first continues the jobs that it had
begun, and then begins new trials up to `sweep.trials`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dlrun.config.expand import Expansion
from dlrun.config.job import Space
from dlrun.config.overrides.grammar import Distribution
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import Values
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import data_of, new_job
from dlrun.sweep.names import job_slug
from dlrun.sweep.samplers.base import RandomSampler, Sampler
from dlrun.sweep.samplers.optuna import OptunaSampler
from dlrun.sweep.samplers.results import objective_value, signed
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
    """The jobs of a search: first the unfinished trials of earlier commands, then new ones."""

    def __init__(self, sweep: SweepDir, expansion: Expansion, sampler: Sampler, *, retry_failed: bool) -> None:
        super().__init__(sweep, sampler)
        self.expansion = expansion
        self.jobs = [job for job in sweep.jobs.values() if job.trial is not None]
        trials, combinations = int(sweep.settings["trials"]), size(expansion.spaces)
        self.total = max(int(min(trials, combinations)), len(self.jobs))
        self.all_of_them = combinations < trials
        self.again: list[FrozenJob] = []
        self.known = {repr(sorted(job.swept.items())) for job in self.jobs}  # the values of all trials
        self.taken = {slug.lower() for slug in sweep.jobs}
        self.number = max((job.trial or 0 for job in self.jobs), default=-1) + 1  # of the next trial
        for job in self.jobs:
            record = state_of_job(sweep, job)
            failed = record.state == "failed" and retry_failed and not job.invalid
            if record.state in ("waiting", "running") or failed:
                self.again.append(job)
            else:
                self.tell(job, record)
        self.done = len(self.jobs) - len(self.again)

    def next(self) -> FrozenJob | None:
        """An unfinished job, or a new trial while there are fewer than `sweep.trials`."""
        if self.again:
            again = self.again.pop(0)
            return self.with_trial(again, self.sampler.again(again.trial or 0))
        while len(self.jobs) < self.total:
            job = self.new_trial()
            if job is None:
                return None
            if not job.invalid:
                return job
            self.tell(job, Record(state="failed"))
        return None

    def new_trial(self) -> FrozenJob | None:
        """Freeze a job with values that the sampler proposes. None if it finds no values that are new."""
        for attempt in range(REDRAWS):
            trial, values = self.sampler.ask(self.number + attempt)
            if repr(sorted(values.items())) not in self.known:
                break
            self.sampler.tell(trial, "failed", None)
        else:
            return None
        job = self.expansion.job(values)
        slug = job_slug(job.swept, list(self.expansion.swept), self.taken)
        frozen = new_job(self.sweep, slug, self.expansion, job, data_of(job), trial)
        self.sweep.append(frozen)
        self.jobs.append(frozen)
        self.known.add(repr(sorted(job.swept.items())))
        self.taken.add(slug.lower())
        self.number = max(self.number, trial + 1)
        return frozen


def size(spaces: Sequence[Mapping[str, Space | str]]) -> float:
    """The number of combinations, infinite where there is a range (which may be text, as in sweep.yaml)."""
    counts = [[len(c) if isinstance(c, list) else math.inf for c in space.values()] for space in spaces]
    return sum(map(math.prod, counts))


def set_search(sweep: SweepDir, expansion: Expansion, settings: Values) -> None:
    """Set `sweep.search`, which sweep.yaml stores.

    Raises `ConfigError` if no key is swept, `RunError` if the folder holds another search.
    """
    if not expansion.swept:
        hint = "Give a key several values or a range: optimizer.lr='tag(log,interval(1e-4,1e-1))'."
        raise ConfigError(Problem("sweep.search", "there is nothing to search: no key is swept.", hint))
    spaces = [
        {key: str(s) if isinstance(s, Distribution) else list(s) for key, s in space.items()}
        for space in expansion.spaces
    ]
    now = {"search": settings["search"], "space": spaces[0] if len(spaces) == 1 else spaces}
    if sweep.search and sweep.search != now:
        raise RunError(
            f"{sweep.path} holds another search ({sweep.search['search']} over {sweep.search['space']}). "
            "Give this one a name of its own: sweep.name=..."
        )
    sweep.search = now

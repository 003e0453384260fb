"""Searching a space: random by ourselves, everything else by Optuna, and the book-keeping that both share.

Trial number n is a job like any other; its values are in sweep.yaml. A search that was stopped goes on with the jobs
that it had begun, and then with new trials, up to `sweep.trials`.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Protocol

from dlrun.config.expand import Expansion, Space
from dlrun.config.overrides.grammar import Distribution
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import Values
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import new_job
from dlrun.sweep.identity import data_hash
from dlrun.sweep.names import job_slug
from dlrun.sweep.state import DONE, Record, read_record, state_of_job

DIGITS = 6  # significant digits of a drawn number: more would only lengthen the commands
REDRAWS = 100  # times that random draws again to find values that are new


class Sampler(Protocol):
    """Something that proposes values, and may learn from what they gave."""

    def ask(self, number: int) -> tuple[int, dict[str, Any]]:
        """A trial's number and the values to try; `number` is how many trials there were before."""

    def again(self, trial: int) -> int:
        """The trial that a job goes on with: its own, or one with the same values if that has ended already."""

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        """The metric (less is better) after an epoch; True ends the trial there."""

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """How a trial ended: `finished`, `pruned` or `failed`. Telling the same again does nothing."""


class RandomSampler:
    """Values drawn from (seed, number) alone, so that a search can be gone on with."""

    def __init__(self, space: Mapping[str, Space], seed: int) -> None:
        self.space, self.seed = space, seed

    def ask(self, number: int) -> tuple[int, dict[str, Any]]:
        """The values of this number."""
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        draw = Random(int.from_bytes(digest, "big"))
        return number, {key: drawn(choices, draw) for key, choices in self.space.items()}

    def again(self, trial: int) -> int:
        """The same."""
        return trial

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        """Never: nothing is learnt."""
        return False

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """Nothing is learnt."""


def drawn(choices: Space, draw: Random) -> Any:
    """One value, uniformly (on a log scale if the range says so)."""
    if not isinstance(choices, Distribution):
        return draw.choice(choices)
    if choices.step is not None:
        return rounded(choices.low + choices.step * draw.randint(0, steps_of(choices)), choices)
    if choices.integer and not choices.log:
        return draw.randint(int(choices.low), int(choices.high))
    if choices.log:
        value = math.exp(draw.uniform(math.log(choices.low), math.log(choices.high)))
    else:
        value = draw.uniform(choices.low, choices.high)
    return rounded(value, choices)


def rounded(value: float, choices: Distribution) -> float | int:
    """A drawn number with as many digits as a person might write, still within its range and on its steps."""
    if choices.step is not None:
        value = choices.low + choices.step * min(round((value - choices.low) / choices.step), steps_of(choices))
    if choices.integer:
        return int(min(max(round(value), choices.low), choices.high))
    return min(max(float(f"{value:.{DIGITS}g}"), float(choices.low)), float(choices.high))


def steps_of(choices: Distribution) -> int:
    """How many steps a range has above its lower end."""
    return math.floor((choices.high - choices.low) / (choices.step or 1.0) + 1e-9)


def make_sampler(settings: Values, expansion: Expansion, sweep: SweepDir) -> Sampler:
    """The sampler that `sweep.search` and `sweep.pruner` ask for. Raises `ConfigError` without Optuna."""
    if expansion.left_out:
        print(f"note: left out of the search, being impossible: {', '.join(expansion.left_out)}", file=sys.stderr)
    if settings["search"] == "random" and settings["pruner"] == "none":
        return RandomSampler(expansion.swept, expansion.config.seed)
    from dlrun.sweep.samplers.optuna import OptunaSampler

    return OptunaSampler(settings["search"], settings["pruner"], expansion.swept, expansion.config.seed, sweep)


class SamplerSource:
    """A source of jobs (see `drive.Source`) whose ends, and epochs, a sampler is told."""

    def __init__(self, sweep: SweepDir, sampler: Sampler) -> None:
        self.sweep, self.sampler = sweep, sampler

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        """Hand the monitored metric of an epoch to the sampler; True if it gives the trial up."""
        auto = read_json(self.sweep.run(job.slug).environment).get("auto") or {}
        value = row.get(str(auto.get("checkpoint.monitor")))
        trial = self.sweep.jobs[job.slug].trial
        if value is None or trial is None:
            return False
        return self.sampler.epoch(trial, int(row["epoch"]), signed(value, str(auto.get("checkpoint.mode"))))

    def ended(self, job: FrozenJob, record: Record) -> None:
        """Tell the sampler what came of a trial (nothing yet, if it only stopped)."""
        if record.state != "waiting":
            self.tell(job, record)

    def with_trial(self, job: FrozenJob, trial: int) -> FrozenJob:
        """The job with this trial to its name, in sweep.yaml too."""
        if trial != job.trial:
            job = replace(job, trial=trial)
            self.sweep.jobs[job.slug] = job
            self.sweep.write()
        return job

    def tell(self, job: FrozenJob, record: Record) -> None:
        """The end of a trial: its best value, or that it failed."""
        trial = self.sweep.jobs[job.slug].trial
        if trial is not None:
            value = result_of(StoredRun(self.sweep.run(job.slug).path)) if record.state in DONE else None
            self.sampler.tell(trial, record.state if value is not None else "failed", value)


class Pruned(SamplerSource):
    """The jobs of a grid, compared epoch by epoch so that hopeless ones end early."""

    def __init__(self, sweep: SweepDir, jobs: Iterable[FrozenJob], sampler: Sampler) -> None:
        super().__init__(sweep, sampler)
        self.jobs = list(jobs)
        self.total = len(self.jobs)

    def next(self) -> FrozenJob | None:
        """The next job, with a trial to its name."""
        if not self.jobs:
            return None
        job = self.jobs.pop(0)
        trial = self.sampler.ask(0)[0] if job.trial is None else self.sampler.again(job.trial)
        return self.with_trial(job, trial)


class Search(SamplerSource):
    """First the unfinished trials of an earlier command, then new ones."""

    def __init__(self, sweep: SweepDir, expansion: Expansion, sampler: Sampler, *, retry_failed: bool) -> None:
        super().__init__(sweep, sampler)
        self.expansion = expansion
        self.jobs = [job for job in sweep.jobs.values() if job.trial is not None]
        trials, combinations = int(sweep.settings["trials"]), size(expansion.swept)
        self.total = max(int(min(trials, combinations)), len(self.jobs))
        self.all_of_them = combinations < trials
        self.again: list[FrozenJob] = []
        for job in self.jobs:
            record = state_of_job(sweep, job, read_record(sweep, job.slug))
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
        """Ask the sampler, and freeze what it proposes. None when only known values are left."""
        known = {repr(sorted(job.swept.items())) for job in self.jobs}
        number = max((job.trial or 0 for job in self.jobs), default=-1) + 1
        for attempt in range(REDRAWS):
            trial, values = self.sampler.ask(number + attempt)
            if repr(sorted(values.items())) not in known:
                break
            self.sampler.tell(trial, "failed", None)
        else:
            return None
        job = self.expansion.job(values)
        slug = job_slug(job.swept, list(self.expansion.swept), self.sweep.jobs)
        data = data_hash(dict(job.config.dataset)) if job.config else ""
        frozen = new_job(self.sweep, slug, self.expansion, job, data, trial)
        self.sweep.jobs[slug] = frozen
        self.sweep.write()
        self.jobs.append(frozen)
        return frozen


def size(space: Mapping[str, Space | str]) -> float:
    """How many combinations there are to try; a range may be written out, as in sweep.yaml."""
    return math.prod(len(choices) if isinstance(choices, list) else math.inf for choices in space.values())


def result_of(run: StoredRun) -> float | None:
    """The best value of the monitored metric, turned so that less is better."""
    value = run.best().get(run.monitor)
    return None if value is None else signed(value, run.mode)


def learnt(sweep: SweepDir, job: FrozenJob) -> tuple[str, float | None, dict[int, float]]:
    """What a job's files say of its trial: the state, the result, and the metric by epoch (less is better)."""
    run = StoredRun(sweep.run(job.slug).path)
    state, value = state_of_job(sweep, job, read_record(sweep, job.slug)).state, result_of(run)
    if state in DONE and value is None:
        state = "failed"
    rows = zip(run.metrics.get("epoch", []), run.metrics.get(run.monitor, []), strict=False)
    epochs = {int(epoch): signed(number, run.mode) for epoch, number in rows if math.isfinite(number)}
    return state, value, epochs


def signed(value: float, mode: str) -> float:
    """The value turned so that less is better."""
    return -value if mode == "max" else value


def remember_space(sweep: SweepDir, expansion: Expansion, settings: Values) -> None:
    """Keep what is searched in sweep.yaml. Raises `ConfigError` when there is nothing to search, `RunError` when the
    folder holds another search.
    """
    if not expansion.swept:
        hint = "Give a key several values or a range: optimizer.lr='tag(log,interval(1e-4,1e-1))'."
        raise ConfigError(Problem("sweep.search", "there is nothing to search: no key is swept.", hint))
    space = {key: str(s) if isinstance(s, Distribution) else list(s) for key, s in expansion.swept.items()}
    now = {"search": settings["search"], "space": space}
    if sweep.search and sweep.search != now:
        raise RunError(
            f"{sweep.path} holds another search ({sweep.search['search']} over {sweep.search['space']}). "
            "Give this one a name of its own: sweep.name=..."
        )
    sweep.search = now

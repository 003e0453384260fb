"""Equal chances (`sweep.budget`): every option is tuned by as many trials, and its best setting runs with new seeds.

    for each option (a combination of the swept values)
        `budget` trials, each with other values of the tuned keys, all with the seed of the command
        the best of them by the monitored metric of validation
        `repeat` runs of that setting with the seeds that follow; these alone are ranked

The test part is cut by one `dataset.split_seed` in all of these runs, so no row that a run is tested on was seen in
tuning; validation, weights and order follow the seed. Trials are points of a scrambled Halton sequence, the same for
every option, or proposed by Optuna (`sweep.search=tpe`).

Sivaprasad et al., "Optimizer benchmarking needs to account for hyperparameter tuning", ICML 2020; Schmidt et al.,
"Descending through a crowded valley", ICML 2021; Bouthillier et al., "Accounting for variance in machine learning
benchmarks", MLSys 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from dlrun.components.registry import DATASETS
from dlrun.config.expand import Expansion
from dlrun.config.job import Job, JobComposer, Space
from dlrun.config.overrides.values import as_text
from dlrun.config.tuning import refuse_nothing_to_tune, tuned_space
from dlrun.errors import ConfigError, Problem
from dlrun.plain import Values
from dlrun.store.reader import StoredRun
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.freeze import freeze_jobs
from dlrun.sweep.samplers.halton import PRIMES, point
from dlrun.sweep.samplers.results import objective_value
from dlrun.sweep.samplers.search import REDRAWS
from dlrun.sweep.samplers.tuner import StudyTuner
from dlrun.sweep.state import DONE, Record, state_of_job

SPLIT = "dataset.split_seed"
SEED = "seed"


@dataclass
class TunedOption:
    """One option: its job as the command describes it, what is tuned of it, its trials and its final runs."""

    job: Job
    space: dict[str, Space]
    split: tuple[str, ...] = ()  # the override that fixes the test part
    trials: list[FrozenJob] = field(default_factory=list)
    chosen: FrozenJob | None = None
    finals: list[FrozenJob] = field(default_factory=list)
    tuner: StudyTuner | None = None  # proposes the trials, where they are no points of a Halton sequence

    def values_of(self, job: FrozenJob) -> Values:
        """What a trial tunes."""
        return {key: job.swept[key] for key in self.space}

    @property
    def label(self) -> str:
        """The swept values, `sgd` or `optimizer=sgd scheduler=step`."""
        words = [f"{key}={as_text(value)}" for key, value in self.job.swept.items()]
        return (
            words[0].partition("=")[2] if len(words) == 1 and "." not in words[0].partition("=")[0] else " ".join(words)
        )


class Protocol:
    """A source of jobs (see `source.Source`): all trials, and the final runs of each option whose trials have ended."""

    def __init__(self, sweep: SweepDir, expansion: Expansion) -> None:
        self.sweep, self.expansion = sweep, expansion
        settings = sweep.settings
        self.budget, self.repeat = int(settings["budget"]), int(settings["repeat"])
        self.retry_failed = bool(settings["retry_failed"])
        self.options = options_of(expansion)
        configs = [option.job.config for option in self.options if option.job.config]
        self.sections = {str(config.dataset.name): config.section("dataset") for config in configs}
        self.failed: set[str] = set()  # in this command
        self.queue: list[FrozenJob] = []
        for option in self.options:
            self.begin(option)
        self.total = len(self.options) * (self.budget + self.repeat)

    def begin(self, option: TunedOption) -> None:
        """Freeze the trials of an option, and its final runs if the trials have ended before."""
        if self.sweep.settings["search"] == "grid":
            rows = [point(option.space, number) for number in range(self.budget)]
        else:
            option.tuner = StudyTuner(self.sweep.settings["search"], option.space, self.seed(option))
            rows = self.tried(option)
        option.trials = self.freeze(option, [(values, self.seed(option)) for values in rows], "tune") if rows else []
        for job in option.trials:
            self.tell(option, job)
        self.queue += self.todo(option.trials)
        self.settle(option)

    def tried(self, option: TunedOption) -> list[Values]:
        """What earlier commands tried of an option whose trials are proposed one by one."""
        wanted, seed = option.job.swept.items(), self.seed(option)
        jobs = [job for job in self.sweep.jobs.values() if job.stage == "tune" and wanted <= job.swept.items()]
        return [
            option.values_of(job) for job in jobs if job.swept.get(SEED) == seed and set(option.space) <= set(job.swept)
        ]

    def tell(self, option: TunedOption, job: FrozenJob) -> None:
        """Tell a tuner the result of a trial that has ended."""
        if option.tuner is not None and self.has_ended(job):
            run = StoredRun(self.sweep.run(job.slug).path)
            done = state_of_job(self.sweep, job).state in DONE
            option.tuner.tell(option.values_of(job), objective_value(run) if done else None)

    def propose(self) -> FrozenJob | None:
        """A new trial of the first option that has fewer than the budget, where trials are proposed one by one."""
        for option in self.options:
            if option.tuner is None or len(option.trials) >= self.budget:
                continue
            for _ in range(REDRAWS):
                values = option.tuner.ask()
                if values not in [option.values_of(job) for job in option.trials]:
                    break
                option.tuner.tell(values, None)
            (job,) = self.freeze(option, [(values, self.seed(option))], "tune")
            self.sweep.write()
            option.trials.append(job)
            return job
        return None

    def seed(self, option: TunedOption) -> int:
        """The seed of an option's trials: that of the command."""
        assert option.job.config is not None
        return int(option.job.config.seed)

    def freeze(self, option: TunedOption, rows: Iterable[tuple[Values, int]], stage: str) -> list[FrozenJob]:
        """The jobs of an option with these values and seeds, found again in the folder or frozen now."""
        jobs, fixed = [], (*self.expansion.overrides, *option.split)
        composer, shared = JobComposer(self.expansion.schema, fixed), len(self.expansion.overrides)
        for values, seed in rows:
            swept = {**option.job.swept, **values, SEED: seed}
            words = tuple(f"{key}={as_text(value)}" for key, value in {**values, SEED: seed}.items())
            jobs.append(composer.make((*option.job.overrides[shared:], *words), swept))
        keys = dict.fromkeys([*self.expansion.swept, *(key for one in self.options for key in one.space), SEED])
        named = replace(self.expansion, overrides=fixed, swept={key: [] for key in keys})
        found = freeze_jobs(self.sweep, named, jobs)
        staged = [replace(job, stage=stage) for job in found.jobs.values()]
        self.sweep.jobs |= {job.slug: job for job in staged}
        return staged

    def todo(self, jobs: Iterable[FrozenJob]) -> list[FrozenJob]:
        """The jobs that are to be run, now or again."""
        return [job for job in jobs if not job.invalid and not self.has_ended(job)]

    def has_ended(self, job: FrozenJob) -> bool:
        """Whether a job is done, or has failed and is not tried again in this command."""
        state = state_of_job(self.sweep, job).state
        return state in DONE or (state == "failed" and (job.slug in self.failed or not self.retry_failed))

    def settle(self, option: TunedOption) -> None:
        """Choose the best trial of an option and queue its final runs, once all trials have ended."""
        lacking = option.tuner is not None and len(option.trials) < self.budget
        if option.chosen is not None or lacking or not all(job.invalid or self.has_ended(job) for job in option.trials):
            return
        option.chosen = best_trial(self.sweep, option.trials)
        if option.chosen is None:
            return
        values = option.values_of(option.chosen)
        first = self.seed(option) + 1
        rows = [(values, seed) for seed in range(first, first + self.repeat)]
        option.finals = self.freeze(option, rows, "final")
        self.sweep.write()
        self.queue += self.todo(option.finals)

    def next(self) -> FrozenJob | None:
        """The next job to start; None while the trials that decide on further ones are running."""
        return self.queue.pop(0) if self.queue else self.propose()

    def epoch(self, job: FrozenJob, row: dict[str, float]) -> bool:
        """Return False: trials are not pruned, since validation would then be compared after different epochs."""
        return False

    def ended(self, job: FrozenJob, record: Record) -> None:
        """Take the final record of a job: the last trial of an option decides on its final runs."""
        if record.state == "failed":
            self.failed.add(job.slug)
        if record.state == "waiting":  # it was stopped
            return
        for option in self.options:
            if any(trial.slug == job.slug for trial in option.trials):
                self.tell(option, job)
            self.settle(option)

    @property
    def notes(self) -> list[str]:
        """That a data set of the user's cuts another test part for each seed, if so."""
        names = dict.fromkeys(str(option.job.config.dataset.name) for option in self.options if option.job.config)
        return [
            f"{name} has no {SPLIT}: if it cuts a test part by the seed, tuning may have trained on final test rows"
            for name in names
            if name in DATASETS.plugins and "split_seed" not in self.sections[name]
        ]

    @property
    def done(self) -> int:
        """How many jobs have ended already."""
        known = [job for option in self.options for job in (*option.trials, *option.finals)]
        return sum(self.has_ended(job) for job in known)

    @property
    def jobs(self) -> list[FrozenJob]:
        """All trials and final runs that are known."""
        return [job for option in self.options for job in (*option.trials, *option.finals)]

    @property
    def finals(self) -> list[FrozenJob]:
        """The runs that are ranked."""
        return [job for option in self.options for job in option.finals]


def best_trial(sweep: SweepDir, trials: Sequence[FrozenJob]) -> FrozenJob | None:
    """The trial with the best monitored metric, the first of equal ones; None if none has finished."""
    best, least = None, math.inf
    for job in trials:
        if state_of_job(sweep, job).state in DONE:
            value = objective_value(StoredRun(sweep.run(job.slug).path))
            if value is not None and value < least:
                best, least = job, value
    return best


def options_of(expansion: Expansion) -> list[TunedOption]:
    """The options of a command with their spaces. Raises `ConfigError` for what cannot be tuned."""
    refuse_useless_keys(expansion)
    options, problems = [], []
    for job, given in zip(expansion.jobs, expansion.ranges, strict=True):
        if job.config is None:
            continue  # left out by sweep.skip_invalid
        try:
            space = tuned_space(job, given, expansion.schema)
        except ConfigError as error:
            problems += error.problems
            continue
        if len(space) > len(PRIMES):
            problems.append(Problem("sweep.tune", f"{len(space)} keys are tuned; {len(PRIMES)} is the most."))
        options.append(TunedOption(job, space, split_word(job)))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    refuse_nothing_to_tune([option.label for option in options if not option.space])
    return options


def refuse_useless_keys(expansion: Expansion) -> None:
    """Raise `ConfigError` for settings of a sweep that a budget leaves no room for."""
    sweep = expansion.config.sweep
    problems = []
    for key in (SEED, "dataset.fold"):
        if key in expansion.swept:
            problems.append(Problem(key, "is not swept beside sweep.budget: sweep.repeat says how many new seeds run."))
    if sweep.search not in ("grid", "tpe"):
        what = f"{sweep.search} does not go with sweep.budget, whose trials are points of a Halton sequence."
        problems.append(Problem("sweep.search", what, "Leave it out, or give sweep.search=tpe."))
    if sweep.pruner != "none":
        problems.append(Problem("sweep.pruner", "does not go with sweep.budget: every trial has the same length."))
    if not expansion.swept:
        what = "compares options, and nothing is swept."
        problems.append(Problem("sweep.budget", what, "dlrun -m optimizer=sgd,momentum,rmsprop,adam sweep.budget=12"))
    if problems:
        raise ConfigError(problems)


def split_word(job: Job) -> tuple[str, ...]:
    """The override that cuts the test part alike for all seeds, where the data set has that key and nothing is told."""
    assert job.config is not None
    dataset = job.config.section("dataset")
    if "split_seed" not in dataset or dataset["split_seed"] is not None or dataset.get("folds") is not None:
        return ()
    return (f"{SPLIT}={job.config.seed}",)

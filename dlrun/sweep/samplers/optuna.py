"""Search and pruning by Optuna (4 or 5), through ask and tell, with an SQLite file in the sweep's folder.

TPE     Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011
CMA-ES  Hansen, "The CMA Evolution Strategy: A Tutorial", 2016
GP      Gaussian process with a LogEI acquisition: Ament et al., 2023
median, hyperband   Golovin et al., "Google Vizier", 2017; Li et al., "Hyperband", 2018
"""

from __future__ import annotations

import sqlite3
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dlrun.config.expand import Space
from dlrun.config.overrides.grammar import Distribution
from dlrun.config.overrides.values import as_text
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import Values, say
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.samplers.base import rounded
from dlrun.sweep.samplers.results import learnt

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

STARTUP = 5  # finished trials before the median prunes
WARMUP = 2  # the first epoch in which it may
STUDY = "sweep"


class OptunaSampler:
    """A study on disk: trials, their epochs and results survive the sweep (see `base.Sampler`).

    For a grid the study only prunes: its trials have no parameters.
    """

    def __init__(self, search: str, pruner: str, space: Mapping[str, Space], seed: int, sweep: SweepDir) -> None:
        optuna = import_optuna(search)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.space = optuna, dict(space) if search != "grid" else {}
        file = (sweep.state / "optuna.db").absolute()
        set_aside_damaged(file)
        self.study = optuna.create_study(
            storage=open_storage(optuna, file),
            study_name=STUDY,
            load_if_exists=True,
            direction="minimize",
            sampler=optuna_sampler(optuna, search, seed, sweep),
            pruner=optuna_pruner(optuna, pruner),
        )
        self.distributions = {key: distribution(optuna, choices) for key, choices in self.space.items()}
        self.asked: dict[int, Trial] = {}
        self.reported: defaultdict[int, set[int]] = defaultdict(set)  # epochs by trial
        self.restore(sweep)
        self.drop_orphans({job.trial for job in sweep.jobs.values()})

    def restore(self, sweep: SweepDir) -> None:
        """Add the trials that the study has lost: sweep.yaml has their values, the runs what came of them.

        They get new numbers, in sweep.yaml too.
        """
        there = self.study.get_trials(deepcopy=False)
        lost = [job for job in sweep.jobs.values() if job.trial is not None and not self.knows(job, there)]
        for job in sorted(lost, key=lambda job: job.trial or 0):
            sweep.jobs[job.slug] = replace(job, trial=self.add(job, *learnt(sweep, job)))
        if lost:
            sweep.write()
            text = f"the study of {sweep.path} had lost {len(lost)} trial{'s' if len(lost) > 1 else ''}"
            say(f"note: {text}: put back from sweep.yaml and the runs", file=sys.stderr)

    def knows(self, job: FrozenJob, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the job's trial is among those of the study, with the job's values."""
        if job.trial is None or job.trial >= len(trials):
            return False
        old, wanted = trials[job.trial].params, self.params_of(job)
        return old.keys() == wanted.keys() and all(
            as_text(self.plain(key, old[key])) == as_text(job.swept[key]) for key in wanted
        )

    def params_of(self, job: FrozenJob) -> Values:
        """A job's values as the study has them; none if the job is not of this space (but of a grid before it)."""
        if not all(key in job.swept and allows(self.space[key], job.swept[key]) for key in self.space):
            return {}
        ranges = {key for key, choices in self.space.items() if isinstance(choices, Distribution)}
        return {key: job.swept[key] if key in ranges else as_text(job.swept[key]) for key in self.space}

    def add(self, job: FrozenJob, state: str, value: float | None, epochs: Mapping[int, float]) -> int:
        """A new trial for a job that has begun or ended; returns its number."""
        params = self.params_of(job)
        word = self.word(state)
        self.study.add_trial(
            self.optuna.trial.create_trial(
                state=word,
                value=value if word == self.optuna.trial.TrialState.COMPLETE else None,
                params=params,
                distributions={key: self.distributions[key] for key in params},
                intermediate_values=dict(epochs),
            )
        )
        return int(self.study.get_trials(deepcopy=False)[-1].number)

    def word(self, state: str) -> TrialState:
        """Optuna's word for the state of a job."""
        states = self.optuna.trial.TrialState
        known = {"finished": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}
        return known.get(state, states.RUNNING)

    def drop_orphans(self, known: set[int | None]) -> None:
        """Trials that were asked for, but whose job was not frozen when the sweep died, have failed."""
        for trial in self.study.get_trials(deepcopy=False):
            if not trial.state.is_finished() and trial.number not in known:
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def ask(self, number: int) -> tuple[int, Values]:
        """A trial of the study, its values as plain ones."""
        trial = self.study.ask(self.distributions)
        self.asked[trial.number] = trial
        values = {key: self.plain(key, value) for key, value in trial.params.items()}
        return trial.number, {key: values[key] for key in self.space}

    def plain(self, key: str, value: float | str) -> Any:
        """A suggested value in the words of the space: choices are kept in the study by their text."""
        choices = self.space[key]
        if isinstance(choices, Distribution):
            return rounded(float(value), choices)
        return next(item for item in choices if as_text(item) == value)

    def trial(self, number: int) -> Trial:
        """The live trial of that number, also one of an earlier process."""
        if number not in self.asked:
            found = next(t for t in self.study.get_trials(deepcopy=False) if t.number == number)
            self.asked[number] = self.optuna.trial.Trial(self.study, found._trial_id)
            self.reported[number] = set(found.intermediate_values)
        return self.asked[number]

    def again(self, trial: int) -> int:
        """The trial itself; or a fresh one with its values, since nothing can be added to one that has ended."""
        old = self.study.get_trials(deepcopy=False)[trial]
        if not old.state.is_finished():
            return trial
        facts = {"params": old.params, "distributions": old.distributions}
        self.study.add_trial(self.optuna.trial.create_trial(state=self.optuna.trial.TrialState.RUNNING, **facts))
        return int(self.study.get_trials(deepcopy=False)[-1].number)

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        """Report the metric after an epoch (once: a job that was killed repeats some); True to give the trial up."""
        live = self.trial(trial)
        if epoch not in self.reported[trial]:
            live.report(value, epoch)
            self.reported[trial].add(epoch)
        return bool(live.should_prune())

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """The end of a trial. One that had failed and finished by `dlrun sweep retry` counts as a further trial."""
        states, word = self.optuna.trial.TrialState, self.word(state)
        trials = self.study.get_trials(deepcopy=False)
        old = trials[trial]
        if not old.state.is_finished():
            self.study.tell(trial, value if word == states.COMPLETE else None, state=word)
        elif (
            old.state == states.FAIL
            and word == states.COMPLETE
            and not any(other.user_attrs.get("again") == trial for other in trials)
        ):
            facts = {"params": old.params, "distributions": old.distributions, "user_attrs": {"again": trial}}
            self.study.add_trial(self.optuna.trial.create_trial(value=value, **facts))


def open_storage(optuna: ModuleType, file: Path) -> RDBStorage:
    """The SQLite file of a study, which no connection keeps open between two calls."""
    from sqlalchemy.pool import NullPool  # which Optuna brings

    return optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"poolclass": NullPool})


def set_aside_damaged(file: Path) -> None:
    """Rename a study that cannot be read any more, and say so. Raises `RunError` where it cannot be opened."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file)) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:  # locked, no permission
        raise RunError(f"cannot open the study {file}: {error}.") from error
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        aside = file.replace(file.with_name(f"{file.name}.damaged"))
        file.with_name(f"{file.name}-journal").unlink(missing_ok=True)  # it would be taken for the new one's
        say(f"note: {file} is damaged: it is kept as {aside.name}", file=sys.stderr)


def allows(choices: Space, value: object) -> bool:
    """Whether a value is in the space of its key."""
    if isinstance(choices, Distribution):
        return isinstance(value, int | float) and choices.low <= value <= choices.high
    return as_text(value) in map(as_text, choices)


def import_optuna(search: str) -> ModuleType:
    """Optuna, or a `ConfigError` that says how to get it."""
    try:
        import optuna
    except ImportError:
        hint = "Install it: pip install 'dlrun[optuna]'. sweep.search=random needs nothing."
        raise ConfigError(
            Problem("sweep.search", f"{search} (and pruning) needs Optuna, which is not here.", hint)
        ) from None
    return optuna


def optuna_sampler(optuna: ModuleType, search: str, seed: int, sweep: SweepDir) -> BaseSampler:
    """The study's sampler. Its draws differ from those of an earlier command on the same study."""
    seed += len(sweep.jobs)
    if search in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    if search == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if search == "cmaes":
        try:
            import cmaes  # noqa: F401 (Optuna imports it later, in the middle of the search)
        except ImportError:
            hint = "Install it: pip install cmaes. sweep.search=tpe needs nothing more."
            raise ConfigError(
                Problem("sweep.search", "cmaes needs the package cmaes, which is not here.", hint)
            ) from None
        return optuna.samplers.CmaEsSampler(seed=seed)
    options = {"constant_liar": True} if int(optuna.__version__.split(".")[0]) < 5 else {}
    return optuna.samplers.TPESampler(seed=seed, **options)


def optuna_pruner(optuna: ModuleType, name: str) -> BasePruner:
    """The study's pruner; an epoch is its resource."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()


def distribution(optuna: ModuleType, choices: Space) -> BaseDistribution:
    """The space of one key in Optuna's words."""
    if not isinstance(choices, Distribution):
        return optuna.distributions.CategoricalDistribution([as_text(item) for item in choices])
    if choices.integer:
        step = int(choices.step or 1)
        return optuna.distributions.IntDistribution(int(choices.low), int(choices.high), log=choices.log, step=step)
    return optuna.distributions.FloatDistribution(choices.low, choices.high, log=choices.log, step=choices.step)

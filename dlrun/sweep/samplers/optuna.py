"""Search and pruning by Optuna (4 or 5) through its ask-and-tell interface, with an SQLite file in the sweep's folder.

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
from dlrun.sweep.samplers.results import read_trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial, TrialState

STARTUP = 5  # finished trials before the median pruner prunes
WARMUP = 2  # epochs of a trial before it may be pruned
STUDY = "sweep"


class OptunaSampler:
    """An Optuna study that is stored on disk (see `base.Sampler`).

    The study of a grid is for pruning alone: its trials have no parameters. Where the search has several spaces, a
    trial has the number of its space as the parameter `grid`, and `KEY@NUMBER` for each key of that space.
    """

    def __init__(
        self, search: str, pruner: str, spaces: Sequence[Mapping[str, Space]], seed: int, sweep: SweepDir
    ) -> None:
        optuna = import_optuna(search)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.states = optuna, optuna.trial.TrialState
        self.spaces = [dict(space) for space in spaces] if search != "grid" else [{}]
        if len(self.spaces) > 1 and search in ("gp", "cmaes"):
            what = f"{search} needs one space, and the {len(self.spaces)} grids of this search have their own."
            raise ConfigError(Problem("sweep.search", what, "Choose tpe or random, or search each grid by itself."))
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
        self.distributions = [
            {self.parameter(key, i): distribution(optuna, choices) for key, choices in space.items()}
            for i, space in enumerate(self.spaces)
        ]
        self.grids = optuna.distributions.CategoricalDistribution(range(len(self.spaces)))
        self.asked: dict[int, Trial] = {}
        self.reported: defaultdict[int, set[int]] = defaultdict(set)  # epochs by trial
        self.restore(sweep)
        self.drop_orphans({job.trial for job in sweep.jobs.values()})

    def restore(self, sweep: SweepDir) -> None:
        """Add trials that are missing in the study again, from sweep.yaml (values) and the runs (results).

        They get new numbers, which are written into sweep.yaml.
        """
        trials = self.trials()
        lost = [job for job in sweep.jobs.values() if job.trial is not None and not self.knows(job, trials)]
        for job in sorted(lost, key=lambda job: job.trial or 0):
            sweep.jobs[job.slug] = replace(job, trial=self.add(job, *read_trial(sweep, job)))
        if lost:
            sweep.write()
            text = f"the study of {sweep.path} had lost {len(lost)} trial{'s' if len(lost) > 1 else ''}"
            say(f"note: {text}: put back from sweep.yaml and the runs", file=sys.stderr)

    def knows(self, job: FrozenJob, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the study has the job's trial, with the job's values."""
        if job.trial is None or job.trial >= len(trials):
            return False
        old, wanted = trials[job.trial].params, self.params_of(job)
        if old.keys() != wanted.keys():
            return False
        found = self.values_of(old) if old else {}
        return all(as_text(value) == as_text(job.swept[key]) for key, value in found.items())

    def parameter(self, key: str, grid: int) -> str:
        """The name of a key in the study."""
        return key if len(self.spaces) == 1 else f"{key}@{grid}"

    def grid_of(self, values: Values) -> int | None:
        """The number of the first space that holds a job's values; None if none does."""
        for i, space in enumerate(self.spaces):
            if all(key in values and allows(choices, values[key]) for key, choices in space.items()):
                return i
        return None

    def params_of(self, job: FrozenJob) -> Values:
        """A job's values as the study stores them; empty for a job outside of the space."""
        grid = self.grid_of(job.swept)
        if grid is None:
            return {}
        space = self.spaces[grid]
        ranges = {key for key, choices in space.items() if isinstance(choices, Distribution)}
        values = {key: job.swept[key] if key in ranges else as_text(job.swept[key]) for key in space}
        named = {self.parameter(key, grid): value for key, value in values.items()}
        return named if len(self.spaces) == 1 else {"grid": grid, **named}

    def distributions_of(self, params: Values) -> dict[str, BaseDistribution]:
        """The distributions of a trial's parameters."""
        if "grid" not in params:
            return {name: self.distributions[0][name] for name in params}
        return {"grid": self.grids, **self.distributions[params["grid"]]}

    def values_of(self, params: Values) -> Values:
        """A trial's parameters as values by key: the study stores choices as text."""
        grid = params.get("grid", 0) if len(self.spaces) > 1 else 0
        found = {}
        for key, choices in self.spaces[grid].items():
            stored = params[self.parameter(key, grid)]
            if isinstance(choices, Distribution):
                found[key] = rounded(float(stored), choices)
            else:
                found[key] = next(item for item in choices if as_text(item) == stored)
        return found

    def add(self, job: FrozenJob, state: str, value: float | None, epochs: Mapping[int, float]) -> int:
        """Add a trial for a job that was begun. Returns its number."""
        params = self.params_of(job)
        trial_state = self.trial_state(state)
        return self.create_trial(
            state=trial_state,
            value=value if trial_state == self.states.COMPLETE else None,
            params=params,
            distributions=self.distributions_of(params),
            intermediate_values=dict(epochs),
        )

    def create_trial(self, **facts: Any) -> int:
        """Add a trial as `optuna.trial.create_trial` makes it. Returns its number."""
        self.study.add_trial(self.optuna.trial.create_trial(**facts))
        return int(self.trials()[-1].number)

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study, by number."""
        return self.study.get_trials(deepcopy=False)

    def trial_state(self, state: str) -> TrialState:
        """Optuna's constant for the state of a job."""
        ended = {"finished": self.states.COMPLETE, "pruned": self.states.PRUNED, "failed": self.states.FAIL}
        return ended.get(state, self.states.RUNNING)

    def drop_orphans(self, known: set[int | None]) -> None:
        """Mark trials as failed that were asked for by a sweep that was killed before it had frozen their jobs."""
        for trial in self.trials():
            if not trial.state.is_finished() and trial.number not in known:
                self.study.tell(trial.number, state=self.states.FAIL)

    def ask(self, number: int) -> tuple[int, Values]:
        """A new trial of the study: its number and its values."""
        if len(self.spaces) == 1:
            trial = self.study.ask(self.distributions[0])
        else:
            trial = self.study.ask()
            for name, one in self.distributions[trial.suggest_categorical("grid", self.grids.choices)].items():
                suggest(trial, name, one)
        self.asked[trial.number] = trial
        return trial.number, self.values_of(trial.params)

    def trial(self, number: int) -> Trial:
        """The trial of that number as an object that can be reported to, also one of an earlier process."""
        if number not in self.asked:
            found = next(t for t in self.trials() if t.number == number)
            self.asked[number] = self.optuna.trial.Trial(self.study, found._trial_id)
            self.reported[number] = set(found.intermediate_values)
        return self.asked[number]

    def again(self, trial: int) -> int:
        """The trial itself, or a new one with its values if it has ended: nothing can be reported to it then."""
        old = self.trials()[trial]
        if not old.state.is_finished():
            return trial
        return self.create_trial(state=self.states.RUNNING, params=old.params, distributions=old.distributions)

    def epoch(self, trial: int, epoch: int, value: float) -> bool:
        """Report the metric after an epoch, once: a resumed job repeats some. Returns whether to prune the trial."""
        live = self.trial(trial)
        if epoch not in self.reported[trial]:
            live.report(value, epoch)
            self.reported[trial].add(epoch)
        return bool(live.should_prune())

    def tell(self, trial: int, state: str, value: float | None) -> None:
        """Store the end of a trial. A failed trial that `dlrun sweep retry` finished is added as a further one."""
        trials, ended = self.trials(), self.trial_state(state)
        old, complete = trials[trial], ended == self.states.COMPLETE
        added = any(other.user_attrs.get("again") == trial for other in trials)
        if not old.state.is_finished():
            self.study.tell(trial, value if complete else None, state=ended)
        elif old.state == self.states.FAIL and complete and not added:
            facts = {"params": old.params, "distributions": old.distributions}
            self.create_trial(value=value, user_attrs={"again": trial}, **facts)


def suggest(trial: Trial, name: str, one: BaseDistribution) -> None:
    """Let the study's sampler propose a value for a parameter."""
    kind = type(one).__name__
    if kind == "CategoricalDistribution":
        trial.suggest_categorical(name, one.choices)  # type: ignore[attr-defined]
    else:
        propose = trial.suggest_int if kind == "IntDistribution" else trial.suggest_float
        propose(name, one.low, one.high, log=one.log, step=one.step)  # type: ignore[attr-defined]


def open_storage(optuna: ModuleType, file: Path) -> RDBStorage:
    """The SQLite storage of a study, whose connections are closed after each call."""
    from sqlalchemy.pool import NullPool  # which Optuna brings

    return optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"poolclass": NullPool})


def set_aside_damaged(file: Path) -> None:
    """Rename a damaged study, with a note on stderr. Raises `RunError` if the file cannot be opened."""
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
    """Import Optuna. Raises `ConfigError` that says how to install it."""
    try:
        import optuna
    except ImportError:
        hint = "Install it: pip install 'dlrun[optuna]'. sweep.search=random needs nothing."
        raise ConfigError(
            Problem("sweep.search", f"{search} (and pruning) needs Optuna, which is not here.", hint)
        ) from None
    return optuna


def optuna_sampler(optuna: ModuleType, search: str, seed: int, sweep: SweepDir) -> BaseSampler:
    """The study's sampler, with a seed of its own for each command on the same study."""
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
    """The study's pruner, which counts epochs."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()


def distribution(optuna: ModuleType, choices: Space) -> BaseDistribution:
    """The space of one key as a distribution of Optuna."""
    if not isinstance(choices, Distribution):
        return optuna.distributions.CategoricalDistribution([as_text(item) for item in choices])
    if choices.integer:
        step = int(choices.step or 1)
        return optuna.distributions.IntDistribution(int(choices.low), int(choices.high), log=choices.log, step=step)
    return optuna.distributions.FloatDistribution(choices.low, choices.high, log=choices.log, step=choices.step)

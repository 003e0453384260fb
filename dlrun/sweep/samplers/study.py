"""The parts of an Optuna study: its storage, its sampler and pruner, and the distributions of its parameters.

TPE     Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011
CMA-ES  Hansen, "The CMA Evolution Strategy: A Tutorial", 2016
GP      Gaussian process with a LogEI acquisition: Ament et al., 2023
median, hyperband   Golovin et al., "Google Vizier", 2017; Li et al., "Hyperband", 2018
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dlrun.config.job import Space
from dlrun.config.overrides.grammar import Distribution
from dlrun.config.overrides.values import as_text
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.plain import say
from dlrun.sweep.folder import SweepDir

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import Trial

STARTUP = 5  # finished trials before the median pruner prunes
WARMUP = 2  # epochs of a trial before it may be pruned


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


def suggest(trial: Trial, name: str, one: BaseDistribution) -> None:
    """Let the study's sampler propose a value for a parameter."""
    kind = type(one).__name__
    if kind == "CategoricalDistribution":
        trial.suggest_categorical(name, one.choices)  # type: ignore[attr-defined]
    else:
        propose = trial.suggest_int if kind == "IntDistribution" else trial.suggest_float
        propose(name, one.low, one.high, log=one.log, step=one.step)  # type: ignore[attr-defined]

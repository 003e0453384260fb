"""Optuna as the proposer of an option's trials in a comparison with equal chances (`sweep.search=tpe` beside a budget).

The study is in memory: the trials of earlier commands are told to it anew from their runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlrun.config.job import Space
from dlrun.config.overrides.values import Distribution, as_text
from dlrun.plain import Values
from dlrun.sweep.folder import SweepDir
from dlrun.sweep.samplers.base import rounded
from dlrun.sweep.samplers.study import distribution, import_optuna, optuna_sampler


class StudyTuner:
    """Proposes values of one option's space, and learns from the results of its trials."""

    def __init__(self, search: str, space: Mapping[str, Space], seed: int) -> None:
        optuna = import_optuna(search)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.space = optuna, space
        self.distributions = {key: distribution(optuna, choices) for key, choices in space.items()}
        self.study = optuna.create_study(sampler=optuna_sampler(optuna, search, seed, SweepDir("memory")))
        self.open: dict[str, int] = {}  # the numbers of trials without a result, by their values

    def ask(self) -> Values:
        """The values to try next."""
        trial = self.study.ask(self.distributions)
        values = {key: self.plain(key, trial.params[key]) for key in self.space}
        self.open[repr(values)] = trial.number
        return values

    def plain(self, key: str, stored: float | str) -> object:
        """A value of the study, which stores choices as text."""
        choices = self.space[key]
        if isinstance(choices, Distribution):
            return rounded(float(stored), choices)
        return next(item for item in choices if as_text(item) == stored)

    def tell(self, values: Values, result: float | None) -> None:
        """Report the result of a trial, less is better; None for one that failed."""
        state = self.optuna.trial.TrialState.FAIL if result is None else None
        number = self.open.pop(repr(values), None)
        if number is not None:
            self.study.tell(number, result, state=state)
        elif result is not None:
            params = {k: v if isinstance(self.space[k], Distribution) else as_text(v) for k, v in values.items()}
            known = self.optuna.trial.create_trial(value=result, params=params, distributions=self.distributions)
            self.study.add_trial(known)

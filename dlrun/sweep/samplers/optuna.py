"""Search and pruning by Optuna (4 or 5) through its ask-and-tell interface, stored in the sweep's folder."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dlrun.config.job import Space
from dlrun.config.overrides.grammar import Distribution
from dlrun.config.overrides.values import as_text
from dlrun.errors import ConfigError, Problem
from dlrun.plain import Values, say
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.samplers.base import allows, rounded, space_of
from dlrun.sweep.samplers.results import by_trial, read_trial
from dlrun.sweep.samplers.study import (
    distribution,
    import_optuna,
    open_storage,
    optuna_pruner,
    optuna_sampler,
    set_aside_damaged,
    suggest,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial, TrialState

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
        known, trials = by_trial(sweep.jobs.values()), self.trials()
        lost = [number for number, jobs in known.items() if not self.knows(jobs[0], trials)]
        for number in sorted(lost):
            new = self.add(known[number][0], *read_trial(sweep, known[number]))
            sweep.jobs |= {job.slug: replace(job, trial=new) for job in known[number]}
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
        return self.named({key: job.swept[key] for key in self.spaces[grid]}, grid)

    def named(self, values: Values, grid: int) -> Values:
        """Values of a grid by the names of the study's parameters."""
        ranges = {key for key, choices in self.spaces[grid].items() if isinstance(choices, Distribution)}
        plain = {key: value if key in ranges else as_text(value) for key, value in values.items()}
        named = {self.parameter(key, grid): value for key, value in plain.items()}
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

    def ask(self, number: int, given: Values | None = None) -> tuple[int, Values]:
        """A new trial of the study: its number and its values."""
        if given:
            self.study.enqueue_trial(self.named(given, space_of(self.spaces, given) or 0))
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

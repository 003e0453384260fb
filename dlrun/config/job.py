"""One job of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrun.config.compose import Draft, read_draft
from dlrun.config.config import Config
from dlrun.config.overrides.values import Distribution
from dlrun.config.schema.schema import Schema
from dlrun.config.schema.words import key_of
from dlrun.errors import Problem

Space = list[Any] | Distribution  # the values of a swept key, or the range that a search draws from
Rows = dict[tuple[str, ...], dict[str, Any]]  # combinations of swept values: as overrides, and by key


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        overrides: everything that is needed to compose the job again.
        swept: the values of the swept keys.
        config: the configuration; None if there are problems.
        problems: what is wrong with the job.
    """

    overrides: tuple[str, ...]
    swept: dict[str, Any]
    config: Config | None
    problems: list[Problem] = field(default_factory=list)

    def label(self, fixed: Sequence[str]) -> str:
        """The overrides beyond the `fixed` ones, which all jobs share: `optimizer=adam seed=0`."""
        own = self.overrides[len(fixed) :]
        return " ".join([word for word in own if key_of(word) in self.swept] or own)  # without a workload's settings


class JobComposer:
    """Composes the jobs of a sweep, which share their `fixed` overrides. Each override is parsed once."""

    def __init__(self, schema: Schema, fixed: tuple[str, ...]) -> None:
        self.schema, self.fixed = schema, fixed
        self.parsed: dict[str, Draft] = {}

    def draft(self, swept: Iterable[str]) -> Draft:
        """The parsed overrides of the job that these ones choose, beside the fixed ones."""
        drafts = [self._read(word) for word in (*self.fixed, *swept)]
        words = [word for draft in drafts for word in draft.words]
        return Draft(self.schema, words, [problem for draft in drafts for problem in draft.problems])

    def make(self, swept: tuple[str, ...], values: dict[str, Any]) -> Job:
        """Compose and check one job."""
        clean, problems = self.draft(swept).checked()
        config = None if problems else without_params(Config(clean))
        return Job((*self.fixed, *swept), values, config, problems)

    def _read(self, word: str) -> Draft:
        if word not in self.parsed:
            self.parsed[word] = read_draft([word], self.schema)
        return self.parsed[word]


def without_params(config: Config) -> Config:
    """The same configuration with empty `sweep.params` and `sweep.workloads`, as that of a single run."""
    if not config.sweep.params and not config.sweep.workloads:
        return config
    return config.with_section("sweep", params={}, workloads={})

"""One job of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrun.config.compose import read_draft
from dlrun.config.config import Config
from dlrun.config.overrides.values import Distribution
from dlrun.config.schema.schema import Schema
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
        return " ".join(self.overrides[len(fixed) :])


def make_job(schema: Schema, fixed: tuple[str, ...], swept: tuple[str, ...], values: dict[str, Any]) -> Job:
    """Compose and check one job."""
    words = (*fixed, *swept)
    clean, problems = read_draft(words, schema).checked()
    config = None if problems else without_params(Config(clean))
    return Job(words, values, config, problems)


def without_params(config: Config) -> Config:
    """The same configuration with empty `sweep.params`, as that of a single run."""
    values = config.to_dict()
    values["sweep"]["params"] = {}
    return Config(values)

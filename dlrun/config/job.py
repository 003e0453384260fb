"""One job of a sweep: its words, composed, checked and frozen."""

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
Rows = dict[tuple[str, ...], dict[str, Any]]  # combinations: the swept words, and the values by key


@dataclass(frozen=True)
class Job:
    """One run of a sweep. `overrides` alone make it again; `config` is None where `problems` are found."""

    overrides: tuple[str, ...]
    swept: dict[str, Any]
    config: Config | None
    problems: list[Problem] = field(default_factory=list)

    def label(self, fixed: Sequence[str]) -> str:
        """Its words beyond those that all jobs have: `optimizer=adam seed=0`."""
        return " ".join(self.overrides[len(fixed) :])


def make_job(schema: Schema, fixed: tuple[str, ...], swept: tuple[str, ...], values: dict[str, Any]) -> Job:
    """One job: composed, checked and frozen."""
    words = (*fixed, *swept)
    clean, problems = read_draft(words, schema).checked()
    config = None if problems else without_params(Config(clean))
    return Job(words, values, config, problems)


def without_params(config: Config) -> Config:
    """The same configuration as one run: nothing is left to sweep."""
    values = config.to_dict()
    values["sweep"]["params"] = {}
    return Config(values)

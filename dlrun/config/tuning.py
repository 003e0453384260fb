"""What is tuned of each option in a comparison with equal chances (`sweep.budget`), and over which ranges.

These are the ranges that the command or the experiment gives (`optimizer.lr='tag(log,interval(1e-4,1))'`) and those
that contracts state (`tune 1e-4 to 1, log`) for the keys in `sweep.tune`, by default for all keys of swept groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlrun.config.job import Job, Space
from dlrun.config.overrides.values import Distribution
from dlrun.config.schema.contract import Contract
from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.errors import ConfigError, Problem, did_you_mean


def tuned_space(job: Job, given: Mapping[str, Distribution], schema: Schema) -> dict[str, Space]:
    """The ranges over which an option is tuned. `given` are those that the command gives, which come first.

    Raises `ConfigError` for a key in `sweep.tune` that the option has not, or whose contract states no range.
    """
    assert job.config is not None, "options that cannot be run are refused before"
    wanted = job.config.sweep.tune
    if wanted is None:
        keys = [] if given else [key for group in job.swept if group in GROUPS for key in keys_of(job, group, schema)]
        found = {key: stated_range(contract) for key in keys if (contract := contract_in(job, key, schema))}
    else:
        found = {key: expect_range(job, key, schema) for key in wanted if key not in given}
    return {**given, **{key: space for key, space in found.items() if space is not None and key not in job.swept}}


def keys_of(job: Job, group: str, schema: Schema) -> list[str]:
    """The dotted keys of a group's section, for the option that a job chooses."""
    option = schema.options(group).get(str(job.swept[group]))
    return [f"{group}.{key}" for key in schema.full(option).keys] if option else []


def contract_in(job: Job, key: str, schema: Schema) -> Contract | None:
    """The contract of a key, in the option that a job chooses."""
    group, _, inner = key.partition(".")
    assert job.config is not None
    section = schema.section(group, str(job.config.get(f"{group}.name"))) if group in GROUPS else None
    found = section.keys.get(inner) if section else None
    return found.contract if found else schema.contract(key)


def stated_range(contract: Contract) -> Distribution | None:
    """The range that a contract states; None if it states none."""
    tune = contract.tune
    if tune is None:
        return None
    return Distribution(tune.low, tune.high, tune.log, contract.has("int") and not contract.has("float"))


def expect_range(job: Job, key: str, schema: Schema) -> Distribution:
    """The range that the contract of a key in `sweep.tune` states."""
    assert job.config is not None
    option = " ".join(f"{name}={value}" for name, value in job.swept.items())
    known = job.config.flat()
    if key not in known:
        hint = did_you_mean(key, known) or f"Ranges are stated for: {', '.join(tunable(job, schema))}."
        raise ConfigError(Problem("sweep.tune", f"{option} has no key {key}.", hint))
    contract = contract_in(job, key, schema)
    found = stated_range(contract) if contract else None
    if found is None:
        hint = f"Give its range: dlrun -m ... '{key}=interval(LOW,HIGH)', or 'tag(log,interval(LOW,HIGH))'."
        raise ConfigError(Problem("sweep.tune", f"{key}: no range is stated for it.", hint))
    return found


def tunable(job: Job, schema: Schema) -> list[str]:
    """All keys of a job whose contract states a range."""
    assert job.config is not None
    return [k for k in job.config.flat() if (contract := contract_in(job, k, schema)) and contract.tune is not None]


def refuse_nothing_to_tune(labels: Sequence[str]) -> None:
    """Raise `ConfigError` for options that have nothing to tune, if there are any."""
    if labels:
        what = f"there is nothing to tune of {', '.join(labels[:3])}: no key of a swept group states a range."
        hint = (
            "Say what is tuned: sweep.tune=[optimizer.lr], or give a range: 'optimizer.lr=tag(log,interval(1e-4,1))'."
        )
        raise ConfigError(Problem("sweep.tune", what, hint))

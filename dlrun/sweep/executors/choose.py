"""The executor of a sweep: `local` forks jobs on this machine, `slurm` and `ray` submit the same task elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlrun.config.config import Config
from dlrun.plain import Values
from dlrun.sweep.executors.base import Executor
from dlrun.sweep.executors.local import LocalExecutor
from dlrun.sweep.executors.ray import RayExecutor
from dlrun.sweep.executors.slurm import SlurmExecutor


def make_executor(settings: Values, configs: Sequence[Config], state: Path) -> Executor:
    """The executor that `sweep.executor` names. Raises `ConfigError` when it cannot be used here."""
    if settings["executor"] == "slurm":
        return SlurmExecutor(settings, state)
    if settings["executor"] == "ray":
        return RayExecutor(settings, configs)
    return LocalExecutor(settings, configs)

"""dlrun: a command-line deep-learning experiment runner driven by configuration files.

The names in `__all__`, and the errors of `dlrun.errors`, are for notebooks, plug-ins and other programs. Everything
else may change from one version to the next.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from dlrun.moved import OldModules

if TYPE_CHECKING:
    from dlrun.api import compose, load_run, train
    from dlrun.components.registry import register
    from dlrun.data.base import Data, Split
    from dlrun.data.own import from_arrays, from_frame
    from dlrun.loggers.record import EpochDone, Record, RunBegun, RunEnded
    from dlrun.objectives.loss import Loss
    from dlrun.objectives.schedule import Schedule
    from dlrun.spec import Batch, DataSpec, Metric

__version__ = "0.1.0"
__all__ = ["Batch", "Data", "DataSpec", "EpochDone", "Loss", "Metric", "Record", "RunBegun", "RunEnded"]
__all__ += ["Schedule", "Split"]
__all__ += ["__version__", "compose", "from_arrays", "from_frame", "load_run", "register", "train"]

HOMES = {
    "dlrun.api": ("compose", "load_run", "train"),
    "dlrun.components.registry": ("register",),
    "dlrun.data.base": ("Data", "Split"),
    "dlrun.data.own": ("from_arrays", "from_frame"),
    "dlrun.loggers.record": ("EpochDone", "Record", "RunBegun", "RunEnded"),
    "dlrun.objectives.loss": ("Loss",),
    "dlrun.objectives.schedule": ("Schedule",),
    "dlrun.spec": ("Batch", "DataSpec", "Metric"),
}
sys.meta_path.append(OldModules)
# Threads of OpenMP that wait for each other spin for long, which on busy cores takes the time of those that work. Read
# when torch is imported.
if sys.platform == "linux" and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"


def __dir__() -> list[str]:
    """All names, for completion in a notebook."""
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import dlrun` is fast."""
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'dlrun' has no attribute {name!r}")

"""Import paths of older versions, which work with a `DeprecationWarning`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED_MODULES = {
    "dlrun.config.registry": "dlrun.components.registry",
    "dlrun.config.plugins": "dlrun.components.plugins",
    "dlrun.config.signature": "dlrun.components.signature",
    "dlrun.objectives.light": "dlrun.objectives.without_dynamo",
    "dlrun.report.read": "dlrun.store.reader",
    "dlrun.run.checkpoint": "dlrun.store.checkpoint",
    "dlrun.run.files": "dlrun.store.files",
    "dlrun.run.rundir": "dlrun.store.rundir",
}
MOVED_NAMES = {  # of modules that still exist: each of them calls `keep_old_names(__name__)`
    "dlrun.config.schema.Config": "dlrun.config.config.Config",
    "dlrun.data.base.Part": "dlrun.data.base.Split",
    "dlrun.objectives.metrics.Together": "dlrun.objectives.collection.MetricCollection",
}


class OldModules:
    """The last finder of `sys.meta_path`, which imports the present module for each of `MOVED_MODULES`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The specification of a module that has moved."""
        return ModuleSpec(name, OldModules) if name in MOVED_MODULES else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Use the default: an empty module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Replace the module by the present one."""
        new = MOVED_MODULES[module.__name__]
        warn(module.__name__, new)
        sys.modules[module.__name__] = import_module(new)


def keep_old_names(module: str) -> None:
    """Give a module an attribute for each name that has moved out of it. Type checkers do not see them."""

    def find(name: str) -> object:
        old = f"{module}.{name}"
        if old not in MOVED_NAMES:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(old, MOVED_NAMES[old])
        where, _, new = MOVED_NAMES[old].rpartition(".")
        return getattr(import_module(where), new)

    vars(sys.modules[module])["__getattr__"] = find


def warn(old: str, new: str) -> None:
    """Warn at the line that imports the old path."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)

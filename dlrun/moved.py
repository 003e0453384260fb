"""Import paths of older versions, which still work with a `DeprecationWarning`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = {
    "dlrun.config.registry": "dlrun.components.registry",
    "dlrun.config.plugins": "dlrun.components.plugins",
    "dlrun.config.signature": "dlrun.components.signature",
    "dlrun.objectives.light": "dlrun.objectives.without_dynamo",
    "dlrun.report.read": "dlrun.store.reader",
    "dlrun.run.checkpoint": "dlrun.store.checkpoint",
    "dlrun.run.files": "dlrun.store.files",
    "dlrun.run.rundir": "dlrun.store.rundir",
}
NAMES = {  # of modules that are still there: each calls `keep_old_names(__name__)`
    "dlrun.config.schema.Config": "dlrun.config.config.Config",
    "dlrun.data.base.Part": "dlrun.data.base.Split",
    "dlrun.objectives.metrics.Together": "dlrun.objectives.metrics.MetricCollection",
}


class OldModules:
    """Finds the modules of `MODULES`, and loads what they became; asked only for what nobody else finds."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The specification of a module that has moved."""
        return ModuleSpec(name, OldModules) if name in MODULES else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """The usual, empty one, which is not used."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Put the module that it became in its place."""
        new = MODULES[module.__name__]
        warn(module.__name__, new)
        sys.modules[module.__name__] = import_module(new)


def keep_old_names(module: str) -> None:
    """Let a module answer to the names that have moved out of it. A type checker does not see them."""

    def find(name: str) -> object:
        old = f"{module}.{name}"
        if old not in NAMES:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(old, NAMES[old])
        where, _, new = NAMES[old].rpartition(".")
        return getattr(import_module(where), new)

    vars(sys.modules[module])["__getattr__"] = find


def warn(old: str, new: str) -> None:
    """At the line that imports the old path."""
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)

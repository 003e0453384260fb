"""Import plug-ins, which register users' components, before a configuration is composed.

They come, in this order, from entry points (group `dlrun.plugins`), from `plugins:` in ./conf/dlrun.yaml, from an
override `plugins=[...]` and from `--plugin FILE`; never because a run directory names them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from dlrun.config.schema import yamls
from dlrun.errors import ConfigError, DlrunError, Kind, Problem

ENTRY_POINTS = "dlrun.plugins"


@dataclass(frozen=True)
class PluginRecord:
    """A plug-in that was imported. `load_plugins([record.reference])` imports it in another process."""

    name: str  # as it was given
    path: str  # its file
    sha256: str  # of the file
    module: str = ""  # the name of the module, if it was imported by one

    @property
    def reference(self) -> str:
        """The name of the module, so that its package is found, or else the path: both are valid in any folder."""
        return self.module or self.path


class PluginError(DlrunError):
    """Raised for an exception in a plug-in while it is imported. The message contains the plug-in's traceback."""

    kind: Kind = "component"


_LOADED: dict[str, PluginRecord] = {}
_NAMED: dict[str, bool] = {}  # each name that was given (a file may have several), and whether the command gave it


def loaded() -> list[PluginRecord]:
    """The plug-ins of this process, in the order of their import."""
    return list(_LOADED.values())


def given() -> list[str]:
    """The names of plug-ins that the command gave. Further commands for the same run need them, too."""
    return [name for name, by_command in _NAMED.items() if by_command]


def load_plugins(names: Iterable[str], origin: str = "plugins", base: Path | None = None) -> None:
    """Import plug-ins by file (`my.py`) or by module (`package.module`). A file is imported again if it has changed.

    Args:
        names: files, relative to the working folder or to `base`, and modules.
        origin: the key or flag that names them, for error messages.
        base: the folder of the settings file that names them; None if the command does.

    Raises `ConfigError` for a missing plug-in, and `PluginError` for an exception in one.
    """
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(Problem(origin, f"{name!r} is not the name of a file or module."))
        path = _find(name, base)
        if path is not None:
            _load_file(name, path)
        elif "/" in name or name.endswith(".py"):
            raise ConfigError(Problem(origin, f"there is no file {name}."))
        else:
            _load_module(name, origin)
        _NAMED[name] = base is None


def is_loaded(name: str) -> bool:
    """Whether a plug-in was imported by this name."""
    return name in _NAMED


def load_entry_points() -> None:
    """Import the plug-ins of installed packages (entry-point group `dlrun.plugins`)."""
    for point in entry_points(group=ENTRY_POINTS):
        if point.value not in _LOADED:
            module = _guarded(point.value, point.load)
            _record(point.value, point.module, sys.modules.get(point.module, module))


def load_settings(files: Iterable[Path]) -> None:
    """Import the plug-ins that the user's dlrun.yaml files name, relative to the folder above `conf`."""
    for path in files:
        values = yamls.load_file(path)
        names = values.get("plugins") if isinstance(values, dict) else None
        if names is not None and not isinstance(names, list):
            raise ConfigError(Problem(f"{path}: plugins", "must be a list, such as [my_components.py]."))
        load_plugins(names or [], f"{path}: plugins", path.parent.parent)


def _find(name: str, base: Path | None) -> Path | None:
    """The file with this name, or None if there is none: then it is a module."""
    path = Path(os.path.expanduser(name))
    for candidate in [path, *([base / path] if base else [])]:
        if os.path.isfile(candidate):  # pathlib raises for a name that is too long
            return candidate.resolve()
    return None


def _load_file(name: str, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    old = _LOADED.get(str(path))
    if old and old.sha256 == digest:
        return
    module_name = f"dlrun_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(Problem("plugins", f"{name} is not a Python file."))
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # so that its classes can be pickled
    loader = spec.loader
    try:
        with _importable(path.parent):
            _guarded(str(path), lambda: loader.exec_module(module))
    except BaseException:
        sys.modules.pop(module_name, None)
        raise
    _LOADED[str(path)] = PluginRecord(name, str(path), digest)


def _load_module(name: str, origin: str) -> None:
    if name in _LOADED:
        return
    first = name.partition(".")[0]
    if first in sys.stdlib_module_names:
        raise ConfigError(Problem(origin, f"{first} is a module of Python's own.", "A file is named with its .py."))
    try:
        with _importable(Path.cwd(), first):
            module = _guarded(name, lambda: import_module(name))
    except ModuleNotFoundError as error:
        text = f"there is no module {error.name!r}" + ("" if error.name == name else f", which {name} imports")
        raise ConfigError(Problem(origin, f"{text}.", "A file is named with its .py.")) from None
    _record(name, name, module)


@contextmanager
def _importable(folder: Path, first: str = "") -> Iterator[None]:
    """Context manager that lets a plug-in import modules from its folder, after those of Python and of packages.

    Only the top-level package `first` is searched for in `folder` before anywhere else.
    """
    finder, added = _Beside(str(folder), first), str(folder) not in sys.path
    sys.meta_path.insert(0, finder)
    if added:
        sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if added:
            sys.path.remove(str(folder))


@dataclass(frozen=True)
class _Beside(MetaPathFinder):
    """Finds a single top-level module in a single folder."""

    folder: str
    name: str

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [self.folder]) if fullname == self.name else None


def _record(name: str, module_name: str, module: object) -> None:
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    _LOADED[name] = PluginRecord(name, file or "", digest, module_name)


def _guarded(name: str, action: Callable[[], object]) -> object:
    """Run an import. An exception becomes a `PluginError` with the plug-in's part of the traceback."""
    try:
        return action()
    except (KeyboardInterrupt, DlrunError):
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name and name.split(".")[0] == error.name.split(".")[0]:
            raise  # there is no such module
        raise PluginError(f"plug-in {name} cannot be imported:\n\n{_own_traceback(error)}") from error


def _own_traceback(error: BaseException) -> str:
    """The traceback without the frames of this module and of the import system."""
    here = str(Path(__file__))
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != here and "importlib" not in f.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(own)] if own else []
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()

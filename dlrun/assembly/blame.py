"""Whose an exception is: the user's input, a component of theirs, or a bug of ours. Decided here, once."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from dlrun.components.plugins import loaded
from dlrun.components.registry import TABLES
from dlrun.config.config import Config
from dlrun.errors import ComponentError, DataError, DlrunError, TrainingFailed, first_line, in_words, of_the_system
from dlrun.package import PACKAGE
from dlrun.torch_errors import is_anomaly, is_out_of_memory

YOURS = "an exception in a component of yours"


def as_ours(error: BaseException, config: Config) -> DlrunError | None:
    """An exception as an error that says why it happened: decided here, once. None for a bug of ours."""
    if isinstance(error, DlrunError):
        return error
    if is_out_of_memory(error):
        said = first_line(error)  # a MemoryError of Python's says nothing
        advice = "out of memory. Try a smaller trainer.batch_size with trainer.accumulate."
        return TrainingFailed(f"{advice} ({said})" if said else advice, "out_of_memory")
    if is_anomaly(error):
        return TrainingFailed(f"anomaly: {first_line(error)}", "diverged")
    if (refused := of_the_system(error)) is not None:
        return refused
    return ComponentError(f"{YOURS}: {in_words(error)}") if from_plugin(error, config) else None


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """Raises an exception inside, where components are made, as what it is to the user; a bug of ours as it is."""
    try:
        yield
    except DlrunError:
        raise
    except (Exception, SystemExit) as error:
        known = as_ours(error, config)
        if isinstance(known, ComponentError):
            raise ComponentError(f"{known}\n\n{own_traceback(error)}") from error
        if known is not None:
            raise known from error
        if isinstance(error, OSError) and error.filename is not None:
            raise DataError(f"cannot read {error.filename}: {error.strerror}.") from error
        raise


def from_plugin(error: BaseException, config: Config) -> bool:
    """Is it an exception of the user's code?

    It is if the traceback passes through a file of theirs (in a process that reads data, its text does), or if it
    comes out of torch while a component of theirs is in use: a backward pass has no frames of the forward pass.
    """
    files = [Path(plugin.path) for plugin in loaded() if plugin.path]
    if not files:
        return False
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    if any(is_users(frame, files) for frame in frames) or any(str(file) in str(error) for file in files):
        return True
    calls_torch = (PACKAGE / "engine", PACKAGE / "torch_private.py")
    in_torch = bool(frames) and (
        "torch" in frames[-1].parts or any(place in (frames[-1], *frames[-1].parents) for place in calls_torch)
    )
    return in_torch and uses_plugin(config)


def uses_plugin(config: Config) -> bool:
    """Does the configuration name a component that the user registered?"""
    kinds = [kind for kind in TABLES if kind != "metric"]
    return any(config[kind].name in TABLES[kind].plugins for kind in kinds) or bool(TABLES["metric"].plugins)


def is_users(file: Path, plugins: list[Path]) -> bool:
    """A plug-in's file, one of its package, or one that neither dlrun, Python nor an installed package brought."""
    packages = [path.parent for path in plugins if path.name == "__init__.py"]
    if file in plugins or any(package in file.parents for package in packages):
        return True
    installed = (PACKAGE, Path(sys.prefix), Path(sys.base_prefix))
    return file.is_file() and not any(folder in file.parents for folder in installed)


def own_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on (the whole one if there is none)."""
    files = [Path(plugin.path) for plugin in loaded() if plugin.path]
    own: TracebackType | None = error.__traceback__
    while own is not None and not is_users(Path(own.tb_frame.f_code.co_filename), files):
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own or error.__traceback__)).rstrip()

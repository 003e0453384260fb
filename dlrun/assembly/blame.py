"""Decide whether the user's input, a user's component or dlrun itself caused an exception."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from dlrun.components.plugins import loaded
from dlrun.components.registry import TABLES
from dlrun.config.config import Config
from dlrun.errors import (
    COMPONENT_RAISES,
    ComponentError,
    DataError,
    Diverged,
    DlrunError,
    TrainingFailed,
    first_line,
    in_words,
    of_the_system,
)
from dlrun.package import PACKAGE
from dlrun.torch_errors import is_anomaly, is_out_of_memory, is_overflow

YOURS = "an exception in a component of yours"


def as_dlrun_error(error: BaseException, config: Config) -> DlrunError | None:
    """The `DlrunError` that explains an exception. None for a bug of dlrun's."""
    if isinstance(error, DlrunError):
        return error
    if is_out_of_memory(error):
        said = first_line(error)  # empty for a MemoryError of Python
        advice = "out of memory. Try a smaller trainer.batch_size with trainer.accumulate."
        return TrainingFailed(f"{advice} ({said})" if said else advice, "out_of_memory")
    if is_anomaly(error):
        return TrainingFailed(f"anomaly: {first_line(error)}", "diverged")
    if is_overflow(error):
        return Diverged(f"a number is too large ({first_line(error)})")
    if (refused := of_the_system(error)) is not None:
        return refused
    return ComponentError(f"{YOURS}: {in_words(error)}") if from_plugin(error, config) else None


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """Context manager that raises an exception in building components as the `DlrunError` that explains it.

    Bugs of dlrun's are raised as they are.
    """
    try:
        yield
    except DlrunError:
        raise
    except COMPONENT_RAISES as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise  # Ctrl-C: where a run answers signals, only a component raises this
        known = as_dlrun_error(error, config)
        if isinstance(known, ComponentError):
            raise ComponentError(f"{known}\n\n{own_traceback(error)}") from error
        if known is not None:
            raise known from error
        if isinstance(error, OSError) and error.filename is not None:
            raise DataError(f"cannot read {error.filename}: {error.strerror}.") from error
        raise


def from_plugin(error: BaseException, config: Config) -> bool:
    """Whether a user's component caused an exception.

    It did if the traceback contains one of its files (for an exception in a DataLoader worker, the message does), or if
    torch raised it while a user's component is in use: a backward pass has no frames of the forward pass.
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
    """Whether the configuration uses a component that a plug-in registered."""
    kinds = [kind for kind in TABLES if kind not in ("metric", "logger")]  # an exception of a logger is only a warning
    return any(config[kind].name in TABLES[kind].plugins for kind in kinds) or bool(TABLES["metric"].plugins)


def is_users(file: Path, plugins: list[Path]) -> bool:
    """Whether a file belongs to a plug-in's package, or at least not to dlrun, Python or an installed package."""
    packages = [path.parent for path in plugins if path.name == "__init__.py"]
    if file in plugins or any(package in file.parents for package in packages):
        return True
    installed = (PACKAGE, Path(sys.prefix), Path(sys.base_prefix))
    return file.is_file() and not any(folder in file.parents for folder in installed)


def own_traceback(error: BaseException) -> str:
    """The traceback from the first frame in the user's code on, or all of it if there is no such frame."""
    files = [Path(plugin.path) for plugin in loaded() if plugin.path]
    own: TracebackType | None = error.__traceback__
    while own is not None and not is_users(Path(own.tb_frame.f_code.co_filename), files):
        own = own.tb_next
    return "".join(traceback.format_exception(type(error), error, own or error.__traceback__)).rstrip()

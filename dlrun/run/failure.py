"""How a run fails: what the user reads, and what status.json keeps."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

import torch

from dlrun.components.plugins import loaded
from dlrun.components.registry import TABLES
from dlrun.config.config import Config
from dlrun.errors import (
    ComponentError,
    ConfigError,
    DataError,
    DlrunError,
    RunError,
    TrainingFailed,
    cannot_write,
    first_line,
    in_words,
)
from dlrun.package import PACKAGE
from dlrun.run.context import RunContext
from dlrun.run.outcome import Outcome
from dlrun.store.claim import is_at_fault
from dlrun.store.files import now

YOURS = "an exception in a component of yours"


def failed(context: RunContext, error: Exception | SystemExit) -> Outcome:
    """Note the failure in the run directory, and say it.

    With the exit code 1 or 2 (a bug of ours, the user's input) only train.log has it: the error is to be raised
    again, and the command line shows it.
    """
    context.signals.hold()
    screen = context.screen
    screen.stop_bar()
    code, message, trace = explain(context, error)
    message += leave_behind(context, error, code, message)
    if code in (1, 2):
        screen.note(f"Error: {message}")
        if code == 1:
            screen.note("".join(traceback.format_exception(error)).rstrip())
    else:
        if trace:
            screen.line(own_traceback(error), always=True)
        screen.line(f"Error: {message}", style="red", always=True)
    return Outcome(context.run, code, state=context.state)


def leave_behind(context: RunContext, error: BaseException, code: int, message: str) -> str:
    """The replaced run again, or nothing if nothing was trained, or a status that says why. Returns words on it."""
    run = context.run
    trained = context.stage != "beginning" or context.resumed or run.file("init").exists()
    try:
        if run.put_back():
            context.stage = "beginning"  # there is nothing of it left to look for the step in
            return " (The run that it was to replace is back.)"
        if code == 2 and not trained and run.begins:
            run.abandon()
            return ""
        run.write_status(
            state="failed", ended=now(), exit_code=code, error=message, seconds=context.seconds(),
            traceback="".join(traceback.format_exception(error)),
        )  # fmt: skip
    except OSError as disk:  # a full disk must not hide what happened
        return f" (status.json could not be written: {disk.strerror or disk})"
    return ""


def explain(context: RunContext, error: BaseException) -> tuple[int, str, bool]:
    """Exit code, message, and whether the traceback belongs to the message."""
    if isinstance(error, ConfigError | DataError | RunError):
        return 2, str(error), False
    if isinstance(error, DlrunError):
        return error.exit_code, str(error), False
    if isinstance(error, OSError) and is_at_fault(context.run.path, error):
        last = context.run.last
        kept = f" The last checkpoint is whole: {last}." if last.exists() else ""
        return 4, f"{cannot_write(context.run.path, error)}{kept}", False
    if out_of_memory(error):
        return 4, memory_words(error), False
    if "detect_anomaly" in str(error) or "returned nan values" in str(error):
        return 4, f"anomaly: {first_line(error)}", True
    if from_plugin(error, context.config):
        return 4, f"{YOURS}: {in_words(error)}", True
    return 1, in_words(error), True


def before_training(error: Exception | SystemExit, config: Config) -> BaseException:
    """What is raised when the components cannot be made: the same error, if it is a bug of ours."""
    if isinstance(error, DlrunError):
        return error
    if out_of_memory(error):
        return TrainingFailed(memory_words(error), "out_of_memory")
    if from_plugin(error, config):
        return ComponentError(f"{YOURS}: {in_words(error)}\n\n{own_traceback(error)}")
    if isinstance(error, OSError) and error.filename is not None:
        return DataError(f"cannot read {error.filename}: {error.strerror}.")
    return error


def out_of_memory(error: BaseException) -> bool:
    """Of the device or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_words(error: BaseException) -> str:
    said = first_line(error)  # a MemoryError of Python's says nothing
    advice = "out of memory. Try a smaller trainer.batch_size with trainer.accumulate."
    return f"{advice} ({said})" if said else advice


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

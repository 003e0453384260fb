"""How a run fails: what the user reads, what status.json keeps, and the capsule of a step that went wrong."""

from __future__ import annotations

import errno
import shutil
import traceback
from typing import Any

from dlrun.errors import ConfigError, DataError, Diverged, DlrunError, RunError
from dlrun.run.runner import Outcome, now


def failed(session: Any, error: Exception) -> Outcome:
    """Note the failure in the run directory, say it, and return its exit code. A bug of ours is raised again."""
    code, message, trace = explain(session, error)
    session.screen.stop_bar()
    try:
        replaced = session.run.put_back()
        if code == 2 and not replaced and not session.resumed:
            shutil.rmtree(session.run.path)  # nothing was trained: nothing half-written stays
        elif not replaced:
            session.run.write_status(
                state="failed", ended=now(), exit_code=code, error=message, traceback="".join(
                    traceback.format_exception(error)
                ),
            )  # fmt: skip
    except OSError as disk:  # a full disk must not hide what happened
        message += f" (status.json could not be written: {disk.strerror})"
    if code == 1:
        raise error
    if code == 2:
        session.screen.close()
        raise error
    if trace:
        session.screen.line("".join(traceback.format_exception(error)).rstrip(), always=True)
    session.screen.line(f"Error: {message}", style="red", always=True)
    save_capsule(session, error)
    return Outcome(session.run, code, state=session.state)


def explain(session: Any, error: Exception) -> tuple[int, str, bool]:
    """Exit code, message, and whether the traceback belongs to the message."""
    if isinstance(error, ConfigError | DataError | RunError):
        return 2, str(error), False
    if isinstance(error, DlrunError):
        return error.exit_code, str(error), False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        last = session.run.last
        kept = f" The last checkpoint is whole: {last}." if last.exists() else ""
        return 4, f"cannot write to {session.run.path}: {error.strerror}.{kept}", False
    if out_of_memory(error):
        return (
            4,
            f"out of memory. Try a smaller trainer.batch_size with trainer.accumulate. ({first_line(error)})",
            False,
        )
    if "detect_anomaly" in str(error) or "returned nan values" in str(error):
        return 4, f"anomaly: {first_line(error)}", True
    if from_plugin(error):
        return 4, f"an exception in a component of yours: {type(error).__name__}: {first_line(error)}", True
    return 1, f"{type(error).__name__}: {first_line(error)}", True


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def out_of_memory(error: Exception) -> bool:
    """Of the device or of the machine."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def from_plugin(error: BaseException) -> bool:
    """Does the traceback pass through a file of the user's?"""
    from dlrun.config.plugins import loaded

    files = {str(plugin.path) for plugin in loaded() if plugin.path}
    return any(frame.filename in files for frame in traceback.extract_tb(error.__traceback__))


def save_capsule(session: Any, error: Exception) -> None:
    """Find the step again from the last good state, and save what it needs (see run/capsule.py)."""
    ours = isinstance(error, Diverged) or not isinstance(error, DlrunError | OSError)
    if not ours or out_of_memory(error):
        return
    from dlrun.run.capsule import capture

    path = capture(session)
    if path is not None:
        session.screen.line(
            f"The step is kept in {path.name}: `dlrun replay {session.run.path}` runs it again."
        )

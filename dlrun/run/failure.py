"""Find out why a run failed, tell the user, and store it in status.json."""

from __future__ import annotations

import traceback
from dataclasses import replace

from dlrun.assembly.blame import as_dlrun_error, own_traceback
from dlrun.errors import Diverged, DlrunError, TrainingFailed, cannot_write, in_words, of_the_system
from dlrun.run.context import RunContext
from dlrun.store.claim import is_at_fault
from dlrun.store.failure import Failure
from dlrun.store.files import now


def failed(context: RunContext, error: BaseException) -> Failure:
    """Store the failure in the run directory, and print it.

    With exit code 1 or 2 (a bug of dlrun's, an error of the user's input) it is written to train.log only: the caller
    raises the error again, and the command line prints it.
    """
    context.signals.hold()
    screen = context.screen
    screen.stop_bar()
    failure = failure_of(context, error)
    failure = replace(failure, message=failure.message + leave_behind(context, failure))
    if failure.exit_code in (1, 2):
        screen.note(f"Error: {failure.message}")
        if failure.exit_code == 1:
            screen.note(failure.traceback.rstrip())
    else:
        if not isinstance(error, DlrunError) and failure.kind in ("component", "diverged"):
            screen.line(own_traceback(error), always=True)
        screen.line(f"Error: {failure.message}", style="red", always=True)
    return failure


def leave_behind(context: RunContext, failure: Failure) -> str:
    """Restore a replaced run, or remove one that never trained, or store the failure in status.json.

    Returns a sentence to add to the message, or an empty string.
    """
    run = context.run
    trained = context.stage != "beginning" or context.resumed or run.file("init").exists()
    try:
        if run.put_back():
            context.stage = "beginning"  # so that the failed step is not searched for in the restored run
            return " (The run that it was to replace is back.)"
        if failure.kind == "input" and not trained and run.begins:
            run.abandon()
            return ""
        run.write_status(state="failed", ended=now(), seconds=context.seconds(), **failure.to_values())
    except OSError as disk:  # a full disk must not hide the failure
        return f" (status.json could not be written: {disk.strerror or disk})"
    return ""


def failure_of(context: RunContext, error: BaseException) -> Failure:
    """The failure that an exception means."""
    if isinstance(error, OSError) and of_the_system(error) is None and is_at_fault(context.run.path, error):
        last = context.run.last
        kept = f" The last checkpoint is whole: {last}." if last.exists() else ""
        known: DlrunError | None = TrainingFailed(f"{cannot_write(context.run.path, error)}{kept}", "disk_full")
    else:
        known = as_dlrun_error(error, context.config)
    message = str(known)
    if isinstance(known, Diverged):
        clip = "" if context.config.trainer.clip_norm is not None else " trainer.clip_norm=1,"
        message = f"{known} Try a smaller optimizer.lr,{clip} or scaled inputs."
    stack = "".join(traceback.format_exception(error))
    if known is None:
        return Failure("bug", in_words(error), stack, 1)
    return Failure(known.kind, message, stack, known.exit_code)

"""Choose the directory of a new run: a new one, or `run.dir` if it may be used."""

from __future__ import annotations

import contextlib
import errno
import os
from datetime import datetime
from pathlib import Path

from dlrun.errors import RunError
from dlrun.store.lock import LOCK
from dlrun.store.marks import is_run, is_status, marks_of
from dlrun.store.rundir import BEGINNING, DISCARDED, RunDir, is_temporary

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)  # errors of a full or broken disk


def fresh_dir(outputs: Path, words: str, now: datetime | None = None) -> RunDir:
    """Make and lock `OUTPUTS/DATE/TIME-WORDS[-N]`. Runs that begin in the same second get different directories."""
    now = now or datetime.now()
    parent = outputs / f"{now:%Y-%m-%d}"
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        run = RunDir(parent / (f"{now:%H-%M-%S}-{words}" + (f"-{number}" if number > 1 else "")))
        with contextlib.suppress(FileExistsError):
            run.path.mkdir()
            run.made = run.begins = True
            run.lock()
            return run
        number += 1


def claim(path: Path, *, overwrite: bool) -> RunDir:
    """Lock the directory that the user named, which is new, empty, or holds a run that may be replaced.

    Raises `RunError` for any other folder, which is not changed.
    """
    run = RunDir(path)
    if os.path.lexists(path) and not path.is_dir():
        raise RunError(f"run.dir={path} is a file, not a directory.")
    refuse_strangers(path)
    run.made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    run.lock()
    try:
        refuse_strangers(path)  # after `lock` has put the files of a killed process in order
        run.begins = not is_run(path)
        if not run.begins:
            refuse_replacing(run, overwrite)
            run.set_aside()
    except BaseException:
        with contextlib.suppress(OSError):
            run.put_back()
        run.unlock()
        raise
    return run


def refuse_strangers(path: Path) -> None:
    """Raise `RunError` unless the folder holds a run of dlrun's or is empty."""
    if not path.is_dir():
        return
    if is_run(path):
        if marks_of(path) < 2:
            raise RunError(
                f"{path} holds a damaged run (its status.json or config.yaml is lost); it is left alone. "
                "Choose another run.dir, or remove it."
            )
        return
    names = {entry.name for entry in path.iterdir() if not is_temporary(entry.name)} - {LOCK, DISCARDED}
    if is_status(RunDir(path).read_status()):  # a run that was killed before it wrote its config.yaml
        names -= set(BEGINNING)
    if names:
        raise RunError(f"{path} is not empty and holds no dlrun run; it is left alone. Choose another run.dir.")


def refuse_replacing(run: RunDir, overwrite: bool) -> None:
    """Raise `RunError` unless the run in this directory may be replaced."""
    if overwrite:
        if foreign := run.foreign_files():
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            what = (
                f"{run.path} holds files that are not of its run ({shown}), and run.overwrite=true would remove them."
            )
            raise RunError(f"{what} Move them away, or choose another run.dir.")
        return
    state = run.read_status().get("state")
    if state == "finished":
        raise RunError(
            f"{run.path} holds a finished run. Choose another run.dir, or replace it with run.overwrite=true."
        )
    raise RunError(
        f"{run.path} holds an unfinished run ({state or 'unknown state'}). Go on with `dlrun resume {run.path}`, "
        "or replace it with run.overwrite=true."
    )


def is_at_fault(folder: Path, error: OSError) -> bool:
    """Whether an error concerns this folder or its disk."""
    named = Path(os.path.abspath(error.filename)) if isinstance(error.filename, str) else None
    return error.errno in DISK or (named is not None and Path(os.path.abspath(folder)) in named.parents)

"""Every path of a run, whose directory it is, and how it is found again.

A run directory is made by one process and locked while that process lives. See docs/architecture.md for its files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.errors import RunError, did_you_mean
from dlrun.store.files import TEMPORARY, read_json, write_json

ASIDE = ".replaced"  # all files of the run that this one replaces, until its first checkpoint
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)  # full, or out of order
MOVING = ".replacing"  # some of them, on their way there or back: they belong in the directory
_held: set[int] = set()  # the file descriptors of this process's locks


def _let_go() -> None:
    """In a child that was forked (a process that reads data): locks are its parent's, and end with that."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


class RunDir:
    """The directory of one run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: int | None = None  # a file descriptor

    def file(self, name: str) -> Path:
        """A path in the run directory."""
        return self.path / name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def steps(self) -> Path:
        return self.path / "steps.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.pt"

    @property
    def begun(self) -> bool:
        """Is there a run that can go on or be looked at? (One that was killed while it began has no config.yaml.)"""
        return self.status.is_file() and self.config.is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Is there something to resume from?"""
        return self.last.exists() or (self.checkpoints / "last.new.pt").exists()

    def lock(self) -> None:
        """Hold the directory until this process ends. Raises `RunError` when another process has it."""
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        if not taken(handle):
            owner = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            raise RunError(f"{self.path} is in use by another dlrun process ({owner}).") from None
        _held.add(handle)
        self._lock = handle
        os.truncate(handle, 0)
        os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode())
        self.tidy()

    def unlock(self) -> None:
        """Let the directory go."""
        if self._lock is not None:
            _held.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def tidy(self) -> None:
        """Remove what a process that was killed had not written to its end."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(f".*{TEMPORARY}"):
                path.unlink(missing_ok=True)

    def read_status(self) -> dict[str, Any]:
        """status.json, or an empty dict when there is none or it cannot be read."""
        return read_json(self.status)

    def write_status(self, **changes: Any) -> None:
        """Change some fields of status.json."""
        write_json(self.status, self.read_status() | changes)

    def entries(self) -> list[Path]:
        """What lies in the directory, but for the lock and what is set aside."""
        return [entry for entry in self.path.iterdir() if entry.name not in (ASIDE, MOVING, ".lock")]

    def set_aside(self) -> None:
        """Move the files of the run that is here aside; `forget_aside` removes them, `put_back` brings them back.

        A process may be killed at any point: only whole, the folder gets the name `ASIDE`.
        """
        moving = self.path / MOVING
        moving.mkdir(exist_ok=True)
        for entry in self.entries():
            os.replace(entry, moving / entry.name)
        os.replace(moving, self.path / ASIDE)

    def put_back(self) -> bool:
        """Bring back the files of a replaced run, if the new one never reached a checkpoint. True if it did."""
        aside, moving = self.path / ASIDE, self.path / MOVING
        if aside.is_dir():
            if self.has_checkpoint:
                shutil.rmtree(aside)
                return False
            for entry in self.entries():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            os.replace(aside, moving)
        if not moving.is_dir():
            return False
        for entry in moving.iterdir():
            os.replace(entry, self.path / entry.name)
        moving.rmdir()
        return True

    def forget_aside(self) -> None:
        """The new run has a checkpoint: the replaced files go."""
        shutil.rmtree(self.path / ASIDE, ignore_errors=True)


def taken(handle: int) -> bool:
    """Lock a file, trying twice: whoever lists the runs may hold it for a moment."""
    for wait in (0.05, 0.0):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(wait)
        except OSError:  # a file system that knows no locks
            return True
    return False


def fresh_dir(outputs: Path, words: str, now: datetime | None = None) -> RunDir:
    """`OUTPUTS/DATE/TIME-WORDS[-N]`, made now: two runs that start in the same second get two directories."""
    now = now or datetime.now()
    parent = outputs / f"{now:%Y-%m-%d}"
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / (f"{now:%H-%M-%S}-{words}" + (f"-{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return RunDir(path)
        number += 1


def claim(path: Path, *, overwrite: bool) -> RunDir:
    """The directory that the user named: new or empty, or a run that may be replaced. Locked; raises `RunError`."""
    if path.exists() and not path.is_dir():
        raise RunError(f"run.dir={path} is a file, not a directory.")
    present = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if present - {".lock"} and not present & {"status.json", ASIDE, MOVING}:
        raise RunError(f"{path} is not empty and holds no dlrun run; it is left alone. Choose another run.dir.")
    path.mkdir(parents=True, exist_ok=True)
    run = RunDir(path)
    run.lock()
    try:
        run.put_back()
        if run.begun:
            refuse_replacing(run, run.read_status().get("state"), overwrite)
            run.set_aside()
    except BaseException:
        run.unlock()
        raise
    return run


def refuse_replacing(run: RunDir, state: str | None, overwrite: bool) -> None:
    """Raise `RunError` unless the run in this directory may be replaced."""
    if overwrite:
        return
    if state == "finished":
        raise RunError(
            f"{run.path} holds a finished run. Choose another run.dir, or replace it with run.overwrite=true."
        )
    raise RunError(
        f"{run.path} holds an unfinished run ({state or 'unknown state'}). Go on with `dlrun resume {run.path}`, "
        "or replace it with run.overwrite=true."
    )


def is_at_fault(folder: Path, error: OSError) -> bool:
    """Is it this folder, or its disk, that failed?"""
    named = Path(os.path.abspath(error.filename)) if isinstance(error.filename, str) else None
    return error.errno in DISK or (named is not None and Path(os.path.abspath(folder)) in named.parents)


def find_run(word: str, outputs: Path) -> RunDir:
    """A run by path, by `run.name`, or `last` (the newest). Raises `RunError` with what is there."""
    path = Path(os.path.expanduser(word))
    if os.path.isfile(path / "status.json") or os.path.isfile(path / "config.yaml"):
        return RunDir(path)
    found = named_runs(outputs)
    named = [run for run, names in found if word == "last" or word in names]
    if named:
        return RunDir(named[-1])
    if os.path.isdir(path):
        return recovered(RunDir(path))
    names = {name for _, both in found for name in both}
    what = f"there is no run {word!r}, neither as a path nor by name under {outputs}/."
    raise RunError(f"{what} {did_you_mean(word, sorted(names))}".strip())


def named_runs(outputs: Path) -> list[tuple[Path, set[str]]]:
    """Every run directory under `outputs`, the newest last, and what it is called: its folder's name, `run.name`."""
    found = []
    for run in all_runs(outputs):
        status = read_json(run / "status.json")
        names = {run.name, str(status.get("name") or run.name)}
        found.append((str(status.get("started") or ""), run, names))
    return [(run, names) for _, run, names in sorted(found, key=lambda entry: entry[:2])]


def recovered(run: RunDir) -> RunDir:
    """The run that was set aside for one that never began. Raises `RunError` when there is none."""
    if (run.path / ASIDE).is_dir() or (run.path / MOVING).is_dir():
        run.lock()
        run.put_back()
        run.unlock()
    if not run.begun:
        raise RunError(f"{run.path} holds no run (there is no status.json in it).")
    return run


def all_runs(outputs: Path) -> Iterator[Path]:
    """Every run directory under `outputs`: anything that holds a status.json."""
    for folder, folders, files in os.walk(outputs):
        if "status.json" in files and "config.yaml" in files:
            folders.clear()
            yield Path(folder)
        else:
            folders[:] = sorted(name for name in folders if not name.startswith("."))

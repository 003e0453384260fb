"""Every path of a run, and whose directory it is.

A run directory is made by one process and locked while that process lives. See docs/architecture.md for its files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from dlrun.errors import RunError, cannot_write
from dlrun.plain import Values
from dlrun.store.files import TEMPORARY, write_json
from dlrun.store.lock import NAME as LOCK
from dlrun.store.lock import Lock, is_free, refuse_links
from dlrun.store.marks import ASIDE, MARK, MOVING, folders_of, has_checkpoint, is_folder, is_set_aside
from dlrun.store.reading import read_json

DISCARDED = ".discarded"  # a replaced run that is no longer needed, while its files are removed
BEGINNING = ("status.json", "overrides.txt", "environment.json", "plugins")  # are there before config.yaml is
FOLDERS = ("checkpoints", "init", ASIDE, MOVING, DISCARDED)
BEGUN = (  # in the order in which it is removed, so that what is left is a run, or the beginning of one
    "metrics.csv", "steps.csv", "metrics.jsonl", "tensorboard", "train.log", "config.yaml", *BEGINNING[::-1], LOCK,
)  # fmt: skip


class RunDir:
    """The directory of one run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.made = False  # this process made the directory
        self.begins = False  # there was nothing in it when this process began a run there
        self._lock = Lock(self.path)

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
    def has_checkpoint(self) -> bool:
        """Is there something to resume from?"""
        return has_checkpoint(self.path)

    def lock(self) -> None:
        """Hold the directory until this process ends, and bring it in order. Raises `RunError` when another has it."""
        self._lock.hold()
        try:
            refuse_links(self.path / name for name in (*BEGUN, *FOLDERS))
            refuse_links(self.checkpoints.iterdir() if self.checkpoints.is_dir() else ())
            self.tidy()
            self.put_back()
        except BaseException:
            self.unlock()
            raise

    def unlock(self) -> None:
        """Let the directory go."""
        self._lock.release()

    def settle(self) -> None:
        """Bring a directory in order whose process was killed while it replaced a run. Raises `RunError`."""
        if folders_of(self.path) == (self.path,) or not is_free(self.path):
            return
        try:
            self.lock()
        except OSError as error:
            raise RunError(cannot_write(self.path, error)) from error
        self.unlock()

    def tidy(self) -> None:
        """Remove what a process that was killed had not written, or removed, to its end."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(f".*{TEMPORARY}") if is_folder(folder) else ():
                if is_temporary(path.name):
                    path.unlink(missing_ok=True)
        if is_folder(self.path / DISCARDED):
            shutil.rmtree(self.path / DISCARDED)

    def read_status(self) -> Values:
        """status.json, or an empty dict when there is none or it cannot be read."""
        return read_json(self.status)

    def write_status(self, **changes: object) -> None:
        """Change some fields of status.json."""
        write_json(self.status, MARK | self.read_status() | changes)

    # -- replacing a run ----------------------------------------------------------------------------------------

    def entries(self) -> list[Path]:
        """What lies in the directory, but for the lock and what is set aside."""
        return [entry for entry in self.path.iterdir() if entry.name not in (ASIDE, MOVING, DISCARDED, LOCK)]

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
        if is_set_aside(self.path):
            if self.has_checkpoint:
                self.forget_aside()
                return False
            for entry in self.entries():
                remove(entry)
            os.replace(aside, moving)
        if not is_folder(moving):
            return False
        for entry in moving.iterdir():
            if not os.path.lexists(self.path / entry.name):
                os.replace(entry, self.path / entry.name)
        with contextlib.suppress(OSError):  # not ours, if there is anything left in it
            moving.rmdir()
        return True

    def forget_aside(self) -> None:
        """The new run has a checkpoint: the replaced files go."""
        with contextlib.suppress(OSError):
            os.replace(self.path / ASIDE, self.path / DISCARDED)
            shutil.rmtree(self.path / DISCARDED)

    def abandon(self) -> None:
        """Remove what a run has written that began here and never trained; the directory too, if it was made for it.

        What others have put there stays.
        """
        if not self.begins:
            return
        for name in BEGUN:
            if os.path.lexists(self.path / name):
                remove(self.path / name)
        if self.made:
            with contextlib.suppress(OSError):  # it is not empty
                self.path.rmdir()


def remove(entry: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it."""
    shutil.rmtree(entry) if is_folder(entry) else entry.unlink()


def is_temporary(name: str) -> bool:
    """Whether a file of that name is one that `write_atomic` had not finished."""
    return re.fullmatch(rf"\..+\.[a-z0-9_]{{8}}{re.escape(TEMPORARY)}", name) is not None

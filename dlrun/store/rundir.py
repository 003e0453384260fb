"""`RunDir`: the paths of a run, and how its directory is locked, replaced and removed.

See docs/architecture.md for the files of a run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from dlrun.errors import RunError, cannot_write
from dlrun.plain import Values
from dlrun.store.files import TEMPORARY, write_json
from dlrun.store.lock import LOCK, Lock, is_free, refuse_links
from dlrun.store.marks import ASIDE, MARK, MOVING, folders_of, has_checkpoint, is_folder, is_set_aside
from dlrun.store.reading import read_json

MOST_THREADS = 1024  # that a run's file can ask for
DISCARDED = ".discarded"  # holds a replaced run while its files are removed
BEGINNING = ("status.json", "overrides.txt", "environment.json", "plugins")  # are written before config.yaml
FOLDERS = ("checkpoints", "init", ASIDE, MOVING, DISCARDED)
BEGUN = (  # files of a run before its first epoch, in an order of removal that leaves a run or the beginning of one
    "metrics.csv", "steps.csv", "metrics.jsonl", "tensorboard", "wandb", "logged.csv",
    "train.log", "config.yaml", *BEGINNING[::-1], LOCK,
)  # fmt: skip
TEST_PREDICTIONS = "test_predictions.csv"  # of a fold: what is predicted for its rows, by their number in the table
RESULT_FILES = (  # further files, of later training and of commands
    "summary.json", "curves.png", "confusion.csv", "confusion.png", "mistakes.png", "mistakes.json",
    "mistakes.npz", "reconstructions.png", "reconstructions.npz", "fit.csv", "fit.png", "profile.txt", "trace.json",
    "crash.pt", "report.html", "model-card.md", "results.csv", "pairs.csv", "comparison.png", "evaluations",
    "predictions", "schema.yaml", TEST_PREDICTIONS, "model.onnx", "model.pt2", "model.safetensors", "model.pt",
)  # fmt: skip


def with_vectors(names: Iterable[str]) -> list[str]:
    """The names of files, each figure's followed by those of its vector graphics (`report.format`)."""
    found = []
    for name in names:
        stem, dot, ending = name.rpartition(".")
        found += [name, f"{stem}.svg", f"{stem}.pdf"] if dot and ending == "png" else [name]
    return found


class RunDir:
    """The directory of one run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.made = False  # whether this process made the directory
        self.begins = False  # whether the directory was empty when this process began a run in it
        self.config = self.path / "config.yaml"
        self.status = self.path / "status.json"
        self.metrics = self.path / "metrics.csv"
        self.steps = self.path / "steps.csv"
        self.summary = self.path / "summary.json"
        self.environment = self.path / "environment.json"
        self.log = self.path / "train.log"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.best = self.checkpoints / "best.pt"
        self._lock = Lock(self.path)

    def file(self, name: str) -> Path:
        """The path of a file in the directory."""
        return self.path / name

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return has_checkpoint(self.path)

    def lock(self) -> None:
        """Lock the directory, and finish or undo what a killed process left unfinished in it.

        Raises `RunError` if another process holds it, if it cannot be written to, and for links in it.
        """
        try:
            self._lock.hold()
            refuse_links(self.path / name for name in (*BEGUN, *FOLDERS))
            refuse_links(self.checkpoints.iterdir() if self.checkpoints.is_dir() else ())
            self.tidy()
            self.put_back()
        except BaseException as error:
            self.unlock()
            if isinstance(error, OSError):
                raise RunError(cannot_write(self.path, error)) from error
            raise

    def unlock(self) -> None:
        """Release the lock of the directory."""
        self._lock.release()

    def settle(self) -> None:
        """Undo or finish the replacing of a run whose process was killed. Raises `RunError`."""
        if folders_of(self.path) == (self.path,) or not is_free(self.path):
            return
        self.lock()
        self.unlock()

    def tidy(self) -> None:
        """Remove files that a killed process had not finished writing or removing."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(f".*{TEMPORARY}") if is_folder(folder) else ():
                if is_temporary(path.name):
                    path.unlink(missing_ok=True)
        if is_folder(self.path / DISCARDED):
            shutil.rmtree(self.path / DISCARDED)

    def read_status(self) -> Values:
        """The values of status.json, or an empty dict if it is missing or damaged."""
        return read_json(self.status)

    @property
    def threads(self) -> int | None:
        """The number of threads that the run computes with on the CPU, if it is known."""
        number = (read_json(self.environment).get("auto") or {}).get("device.threads")
        return number if type(number) is int and 0 < number <= MOST_THREADS else None

    def write_status(self, **changes: object) -> None:
        """Set some fields of status.json."""
        write_json(self.status, MARK | self.read_status() | changes)

    # -- replacing a run ----------------------------------------------------------------------------------------

    def entries(self) -> list[Path]:
        """The files and folders in the directory, without the lock and the files of a replaced run."""
        return [entry for entry in self.path.iterdir() if entry.name not in (ASIDE, MOVING, DISCARDED, LOCK)]

    def foreign_files(self) -> list[str]:
        """The files that dlrun did not write, relative to the directory."""
        known = {*BEGUN, *FOLDERS, *with_vectors(RESULT_FILES)}
        foreign = [entry for entry in self.entries() if entry.name not in known]
        if self.checkpoints.is_dir():
            foreign += [e for e in self.checkpoints.iterdir() if not re.fullmatch(r"(last|best)[\w.-]*\.pt", e.name)]
        return sorted(str(entry.relative_to(self.path)) for entry in foreign)

    def set_aside(self) -> None:
        """Move the files of the run to `ASIDE`, from where `forget_aside` removes or `put_back` restores them.

        The process may be killed at any point: the folder gets the name `ASIDE` only when all files are in it.
        """
        moving = self.path / MOVING
        moving.mkdir(exist_ok=True)
        for entry in self.entries():
            os.replace(entry, moving / entry.name)
        os.replace(moving, self.path / ASIDE)

    def put_back(self) -> bool:
        """Restore a replaced run if the new one has no checkpoint. Returns whether it was restored."""
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
        with contextlib.suppress(OSError):  # it is not empty
            moving.rmdir()
        return True

    def forget_aside(self) -> None:
        """Remove the replaced run, since the new one has a checkpoint."""
        with contextlib.suppress(OSError):
            os.replace(self.path / ASIDE, self.path / DISCARDED)
            shutil.rmtree(self.path / DISCARDED)

    def abandon(self) -> None:
        """Remove the files of a run that began here and did not train, and the directory if it was made for the run.

        Other files stay.
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
    """Remove a file, a link, or a folder with its content."""
    shutil.rmtree(entry) if is_folder(entry) else entry.unlink()


def is_temporary(name: str) -> bool:
    """Whether this is the name of an unfinished file of `write_atomic`."""
    return re.fullmatch(rf"\..+\.[a-z0-9_]{{8}}{re.escape(TEMPORARY)}", name) is not None

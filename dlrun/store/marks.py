"""Recognize run directories by the content of their status.json and config.yaml.

While a run is being replaced (`run.overwrite=true`), the files of the old run are in `ASIDE` until the new run has its
first checkpoint; while they are moved there and back, some of them are in `MOVING`. `folders_of` says where the files
of the run are at any moment, so that all readers agree on which of the two runs a directory holds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dlrun.plain import Values
from dlrun.store import lock
from dlrun.store.reading import read_json, try_read_text

ASIDE = ".replaced"  # holds all files of the run that is being replaced
MOVING = ".replacing"  # holds some of its files; the others are in the run directory
MARK = {"made_by": "dlrun"}  # in every status.json
OLD_FIELDS = {"state", "name", "pid", "host", "started"}  # in every status.json of versions without a mark
SECTIONS = ("model", "dataset", "optimizer", "trainer")  # in every config.yaml
TRACES = ("metrics.csv", "steps.csv", "summary.json", "train.log", "checkpoints")  # are written while training


def is_status(values: Values) -> bool:
    """Whether these are the values of a status.json that dlrun wrote."""
    return values.items() >= MARK.items() or values.keys() >= OLD_FIELDS


def is_config(text: str) -> bool:
    """Whether this is the text of a run's config.yaml."""
    return all(re.search(rf"^{section}:", text, re.MULTILINE) for section in SECTIONS)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory, possibly of an older version or a damaged one.

    A run directory holds a status.json and a config.yaml of dlrun's. If one of them is lost or damaged, a file that is
    written while training takes its place.
    """
    marks, places = marks_of(folder), folders_of(folder)
    return marks == 2 or (marks == 1 and any(os.path.lexists(p / name) for p in places for name in TRACES))


def marks_of(folder: Path) -> int:
    """How many of status.json and config.yaml in this folder are dlrun's (0 to 2)."""
    return _marks_in(*folders_of(folder))


def _marks_in(*places: Path) -> int:
    status = any(is_status(read_json(place / "status.json")) for place in places)
    return status + any(is_config(try_read_text(place / "config.yaml") or "") for place in places)


def folders_of(run: Path) -> tuple[Path, ...]:
    """The folders that hold the files of a run. Of files with the same name, that in the first folder counts."""
    if is_set_aside(run):
        new = has_checkpoint(run) or not lock.is_free(run)
        return (run,) if new else (run / ASIDE,)
    return (run / MOVING, run) if is_folder(f"{run}/{MOVING}") else (run,)


def is_set_aside(run: Path) -> bool:
    """Whether the folder holds a run that is being replaced."""
    return is_folder(f"{run}/{ASIDE}") and _marks_in(run / ASIDE) == 2


def has_checkpoint(run: Path) -> bool:
    """Whether the folder holds a checkpoint to resume from."""
    return any(os.path.isfile(f"{run}/checkpoints/{name}") for name in ("last.pt", "last.new.pt"))


def is_folder(path: Path | str) -> bool:
    """Whether a path is a folder, and not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)

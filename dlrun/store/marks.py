"""What tells a run from any other folder: dlrun's own status.json and config.yaml, by what is in them.

A run may be about to be replaced by another (`run.overwrite=true`). Until the new one has its first checkpoint, the
files of the old one lie in `ASIDE`; on their way there and back, some of them lie in `MOVING`. `folders_of` knows
where they are at every moment, so that all who look agree on which of the two runs a folder holds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dlrun.plain import Values
from dlrun.store import lock
from dlrun.store.reading import read_json, read_text

ASIDE = ".replaced"  # the run that is being replaced, whole
MOVING = ".replacing"  # some of its files; the others lie in the run directory
MARK = {"made_by": "dlrun"}  # in every status.json
OLD_FIELDS = {"state", "name", "pid", "host", "started"}  # of a status.json from before there was a mark
SECTIONS = ("model", "dataset", "optimizer", "trainer")  # of every config.yaml
TRACES = ("metrics.csv", "steps.csv", "summary.json", "train.log", "checkpoints")  # what training leaves


def is_status(values: Values) -> bool:
    """Whether these are the values of a status.json that dlrun wrote."""
    return values.items() >= MARK.items() or values.keys() >= OLD_FIELDS


def is_config(text: str) -> bool:
    """Whether this is the text of a run's config.yaml."""
    return all(re.search(rf"^{section}:", text, re.MULTILINE) for section in SECTIONS)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory, be it an old or damaged one.

    It holds a status.json and a config.yaml of dlrun's. Where one of them is lost or damaged, the other is enough if
    training has left something beside it.
    """
    marks, places = marks_of(folder), folders_of(folder)
    return marks == 2 or (marks == 1 and any(os.path.lexists(p / name) for p in places for name in TRACES))


def marks_of(folder: Path) -> int:
    """How many of the two files of a run in this folder are dlrun's."""
    return _marks_in(*folders_of(folder))


def _marks_in(*places: Path) -> int:
    status = any(is_status(read_json(place / "status.json")) for place in places)
    return status + any(is_config(read_text(place / "config.yaml") or "") for place in places)


def folders_of(run: Path) -> tuple[Path, ...]:
    """Where the files of a run lie: of two files of one name, the one in the first folder counts."""
    if is_set_aside(run):
        new = has_checkpoint(run) or not lock.is_free(run)
        return (run,) if new else (run / ASIDE,)
    return (run / MOVING, run) if is_folder(run / MOVING) else (run,)


def is_set_aside(run: Path) -> bool:
    """Whether a run lies in this folder that is being replaced by another."""
    return is_folder(run / ASIDE) and _marks_in(run / ASIDE) == 2


def has_checkpoint(run: Path) -> bool:
    """Whether there is something in this folder to resume from."""
    return any(os.path.isfile(run / "checkpoints" / name) for name in ("last.pt", "last.new.pt"))


def is_folder(path: Path) -> bool:
    """Whether this is a folder, and no link to one."""
    return os.path.isdir(path) and not os.path.islink(path)

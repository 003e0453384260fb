"""What is in a folder, to be compared before and after a command; and which run is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.errors import RunError
from dlrun.report.runs import list_runs
from dlrun.store.claim import claim
from dlrun.store.find import find_run
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun


def contents(folder: Path | str) -> dict[str, bytes]:
    """What each file holds, by its path in the folder; without the lock, which every command may take."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def agreed(path: Path) -> str | None:
    """The name of the run in this folder, as all see it; None if there is none. Brings the folder in order."""
    listed = list_runs(path.parent)
    if not listed:
        assert not is_run(path)
        with pytest.raises(RunError):
            find_run(str(path), path.parent)
        new = claim(path, overwrite=False)
        assert new.begins
        new.unlock()
        return None
    (entry,) = listed
    stored = StoredRun(path)
    assert bool(stored.summary) or stored.state != "finished"
    assert find_run(str(path), path.parent).read_status()["name"] == entry.name == stored.name
    with pytest.raises(RunError, match=r"run\.overwrite=true"):
        claim(path, overwrite=False)
    assert not [file.name for file in path.rglob(".*") if file.name != ".lock"], "something was left"
    return entry.name

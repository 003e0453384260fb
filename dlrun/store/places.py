"""What a word of `dlrun compare` means: a folder by its path, a run or a sweep by its name, or `last`."""

from __future__ import annotations

import os
from pathlib import Path

from dlrun.errors import RunError, did_you_mean
from dlrun.store.rundir import find_run, named_runs

OUTPUTS = Path("outputs")
NAMED = 8  # places that an error names


def user_path(path: str) -> Path:
    """A path as the user wrote it, with `~`."""
    return Path(os.path.expanduser(path))


def place_of(word: Path | str) -> Path:
    """The folder. Raises `RunError` for a name that nothing has, or that several have."""
    path = user_path(str(word))
    if os.path.exists(path) or len(path.parts) > 1:
        return path
    if str(word) == "last":
        return find_run("last", OUTPUTS).path
    named = names()
    found = named.get(str(word), [])
    if not found:
        what = f"there is no run {str(word)!r}, neither as a path nor by name under {OUTPUTS}/."
        raise RunError(f"{what} {did_you_mean(str(word), sorted(named))}".strip())
    if len(found) > 1:
        shown = "\n".join(f"  {place}" for place in found[:NAMED])
        more = f"\n  and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise RunError(f"{str(word)!r} is the name of {len(found)}; give the path of one:\n{shown}{more}")
    return found[0]


def names() -> dict[str, list[Path]]:
    """The names of the runs and sweeps under outputs, and where these are."""
    named: dict[str, list[Path]] = {}
    for run, called in named_runs(OUTPUTS):
        for name in called:
            named.setdefault(name, []).append(run)
    for file in sorted(OUTPUTS.glob("sweeps/*/sweep.yaml")):
        named.setdefault(file.parent.name, []).append(file.parent)
    return named

"""Find runs in a folder, by their path or name, or the newest one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlrun.errors import RunError, did_you_mean
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun, sweep_of
from dlrun.store.rundir import RunDir

OUTPUTS = Path("outputs")
SHOWN_PLACES = 8  # places that an error names


def find_runs(folder: Path) -> Iterator[Path]:
    """All run directories in a folder, which may be one itself, sorted by name. Hidden folders are skipped."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if is_run(place):
            yield place
            continue
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue
        inside = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
        waiting += [Path(entry.path) for entry in inside]


def user_path(path: str) -> Path:
    """Expand `~` in a path that the user wrote."""
    return Path(os.path.expanduser(path))


def expect_folder(path: Path) -> Path:
    """Return the path if it is a folder. Raises `RunError` otherwise."""
    if not os.path.isdir(path):  # pathlib raises for a name that is too long
        word = "is a file, not a folder" if os.path.exists(path) else "does not exist"
        raise RunError(f"{path} {word}. Give a run directory, a sweep's folder, or a folder that holds some.")
    return path


def find_run(word: str, outputs: Path = OUTPUTS) -> RunDir:
    """Find a run by its path, its name, or `last` (the newest run that is not a job of a sweep).

    Raises `RunError` for an unknown or ambiguous name.
    """
    path = user_path(word)
    if not is_run(path):
        runs = _runs(outputs)
        if word == "last":
            own = [run.path for run in runs if sweep_of(run.path) is None]
            if not own:
                raise RunError(f"there is no run under {outputs}/ yet (jobs of sweeps do not count as the last run).")
            path = own[0]
        elif word in (named := _by_name(runs)) or not os.path.isdir(path):
            path = _only(word, named, outputs)
        else:
            raise RunError(f"{path} holds no run (no status.json and config.yaml of dlrun's are in it).")
    run = RunDir(path)
    run.settle()
    return run


def find_place(word: Path | str) -> Path:
    """Find a folder by its path, a run or a sweep by its name, or `last`. Raises `RunError` as `find_run` does."""
    path = user_path(str(word))
    if os.path.exists(path) or len(path.parts) > 1:
        return path
    if str(word) == "last":
        return find_run("last").path
    return _only(str(word), named_places(), OUTPUTS)


def named_places() -> dict[str, list[Path]]:
    """The paths of the runs and sweeps under outputs by name, newest first."""
    named = _by_name(_runs(OUTPUTS))
    for file in sorted(OUTPUTS.glob("sweeps/*/sweep.yaml")):
        named.setdefault(file.parent.name, []).append(file.parent)
    return named


def _runs(outputs: Path) -> list[StoredRun]:
    """All runs in a folder, newest first."""
    return sorted(map(StoredRun, find_runs(outputs)), key=lambda run: (-run.started, run.path))


def _by_name(runs: list[StoredRun]) -> dict[str, list[Path]]:
    """The paths of runs by each of their names: the folder's name, `run.name`, and SWEEP/JOB for a sweep's job."""
    named: dict[str, list[Path]] = {}
    for run in runs:
        for name in {run.path.name, run.name, run.full_name}:
            named.setdefault(name, []).append(run.path)
    return named


def _only(word: str, named: Mapping[str, list[Path]], outputs: Path) -> Path:
    """The only place with this name. Raises `RunError` if there is none, or more than one."""
    found = named.get(word, [])
    if not found:
        what = f"there is no run {word!r}, neither as a path nor by name under {outputs}/."
        raise RunError(f"{what} {did_you_mean(word, sorted(named))}".strip())
    if len(found) > 1:
        shown = "\n".join(f"  {place}" for place in sorted(found)[:SHOWN_PLACES])
        more = f"\n  and {len(found) - SHOWN_PLACES} more" if len(found) > SHOWN_PLACES else ""
        raise RunError(f"{word!r} is the name of {len(found)}; give the path of one:\n{shown}{more}")
    return found[0]

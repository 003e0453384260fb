"""Where runs are: in a folder, by a path, by a name, or the newest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlrun.errors import RunError, did_you_mean
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun, sweep_of
from dlrun.store.rundir import RunDir

OUTPUTS = Path("outputs")
NAMED = 8  # places that an error names


def find_runs(folder: Path) -> Iterator[Path]:
    """The run directories in a folder (or the folder itself), by name; not in hidden folders, nor in runs."""
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
    """A path as the user wrote it, with `~`."""
    return Path(os.path.expanduser(path))


def expect_folder(path: Path) -> Path:
    """The path, if it is a folder. Raises `RunError`."""
    if not os.path.isdir(path):  # pathlib raises for a name that is too long
        word = "is a file, not a folder" if os.path.exists(path) else "does not exist"
        raise RunError(f"{path} {word}. Give a run directory, a sweep's folder, or a folder that holds some.")
    return path


def find_run(word: str, outputs: Path = OUTPUTS) -> RunDir:
    """A run by its path, its name, or `last` (the newest that is no job of a sweep).

    Raises `RunError` for a name that nothing has, or that several have.
    """
    path = user_path(word)
    if not is_run(path):
        runs = _runs(outputs)
        if word == "last":
            path = _last(runs, outputs)
        elif word in (named := _by_name(runs)) or not os.path.isdir(path):
            path = _only(word, named, outputs)
        else:
            raise RunError(f"{path} holds no run (no status.json and config.yaml of dlrun's are in it).")
    run = RunDir(path)
    run.settle()
    return run


def find_place(word: Path | str) -> Path:
    """A folder by its path, a run or a sweep by its name, or `last`. Raises `RunError` as `find_run` does."""
    path = user_path(str(word))
    if os.path.exists(path) or len(path.parts) > 1:
        return path
    if str(word) == "last":
        return find_run("last").path
    return _only(str(word), names(), OUTPUTS)


def names() -> dict[str, list[Path]]:
    """The names of the runs and sweeps under outputs, the newest first, and where these are."""
    named = _by_name(_runs(OUTPUTS))
    for file in sorted(OUTPUTS.glob("sweeps/*/sweep.yaml")):
        named.setdefault(file.parent.name, []).append(file.parent)
    return named


def _runs(outputs: Path) -> list[StoredRun]:
    """All runs there, the newest first."""
    return sorted(map(StoredRun, find_runs(outputs)), key=lambda run: (-run.started, run.path))


def _last(runs: list[StoredRun], outputs: Path) -> Path:
    own = [run for run in runs if sweep_of(run.path) is None]
    if not own:
        raise RunError(f"there is no run under {outputs}/ yet (jobs of sweeps do not count as the last run).")
    return own[0].path


def _by_name(runs: list[StoredRun]) -> dict[str, list[Path]]:
    """The runs by what they are called: their folder's name, `run.name`, and SWEEP/JOB for the job of a sweep."""
    named: dict[str, list[Path]] = {}
    for run in runs:
        for name in {run.path.name, run.name, run.full_name}:
            named.setdefault(name, []).append(run.path)
    return named


def _only(word: str, named: Mapping[str, list[Path]], outputs: Path) -> Path:
    """The one place of that name. Raises `RunError` where there is none, or more than one."""
    found = named.get(word, [])
    if not found:
        what = f"there is no run {word!r}, neither as a path nor by name under {outputs}/."
        raise RunError(f"{what} {did_you_mean(word, sorted(named))}".strip())
    if len(found) > 1:
        shown = "\n".join(f"  {place}" for place in sorted(found)[:NAMED])
        more = f"\n  and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise RunError(f"{word!r} is the name of {len(found)}; give the path of one:\n{shown}{more}")
    return found[0]

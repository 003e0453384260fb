"""Every path of a run, and the only ways to write to them: atomically, or appended and flushed.

A run directory is made by one process and locked while that process lives. See docs/architecture.md for its files.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.errors import RunError

STATES = ("running", "finished", "failed", "interrupted")
ASIDE = ".replaced"  # the files of the run that this one replaces, until its first checkpoint


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

    def lock(self) -> None:
        """Hold the directory until this process ends. Raises `RunError` when another process has it."""
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        if not taken(handle):
            owner = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            raise RunError(f"{self.path} is in use by another dlrun process ({owner}).") from None
        os.truncate(handle, 0)
        os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode())
        self._lock = handle

    def unlock(self) -> None:
        """Let the directory go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read_status(self) -> dict[str, Any]:
        """status.json, or an empty dict when there is none or it cannot be read."""
        return read_json(self.status)

    def write_status(self, **changes: Any) -> None:
        """Change some fields of status.json."""
        write_json(self.status, self.read_status() | changes)

    def put_back(self) -> bool:
        """Bring back the files of a replaced run, if the new one never reached a checkpoint. True if it did."""
        aside = self.path / ASIDE
        if not aside.is_dir():
            return False
        if self.last.exists() or self.best.exists():
            shutil.rmtree(aside)
            return False
        for entry in self.path.iterdir():
            if entry.name not in (ASIDE, ".lock"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for entry in aside.iterdir():
            os.replace(entry, self.path / entry.name)
        aside.rmdir()
        return True

    def set_aside(self) -> None:
        """Move the files of the run that is here aside; `forget_aside` removes them, `put_back` brings them back."""
        aside = self.path / ASIDE
        aside.mkdir(exist_ok=True)
        for entry in self.path.iterdir():
            if entry.name not in (ASIDE, ".lock"):
                os.replace(entry, aside / entry.name)

    def forget_aside(self) -> None:
        """The new run has a checkpoint: the replaced files go."""
        shutil.rmtree(self.path / ASIDE, ignore_errors=True)


def taken(handle: int) -> bool:
    """Lock a file, trying twice: whoever lists the runs may hold it for a moment."""
    for wait in (0.05, 0.0):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(wait)
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
    if present - {".lock"} and not present & {"status.json", ASIDE}:
        raise RunError(f"{path} is not empty and holds no dlrun run; it is left alone. Choose another run.dir.")
    path.mkdir(parents=True, exist_ok=True)
    run = RunDir(path)
    run.lock()
    run.put_back()
    state = run.read_status().get("state")
    if run.status.exists():
        refuse_replacing(run, state, overwrite)
        run.set_aside()
    return run


def refuse_replacing(run: RunDir, state: str | None, overwrite: bool) -> None:
    """Raise `RunError` unless the run in this directory may be replaced."""
    if overwrite:
        return
    run.unlock()
    if state == "finished":
        raise RunError(
            f"{run.path} holds a finished run. Choose another run.dir, or replace it with run.overwrite=true."
        )
    raise RunError(
        f"{run.path} holds an unfinished run ({state or 'unknown state'}). Go on with `dlrun resume {run.path}`, "
        "or replace it with run.overwrite=true."
    )


def find_run(word: str, outputs: Path) -> RunDir:
    """A run by path, by `run.name`, or `last` (the newest). Raises `RunError` with what is there."""
    path = Path(word).expanduser()
    if (path / "status.json").is_file() or (path / "config.yaml").is_file():
        return RunDir(path)
    if path.is_dir():
        raise RunError(f"{path} holds no run (there is no status.json in it).")
    runs = sorted(all_runs(outputs), key=lambda run: read_json(run / "status.json").get("started", ""))
    if word == "last" and runs:
        return RunDir(runs[-1])
    named = [run for run in runs if word in (run.name, read_json(run / "status.json").get("name"))]
    if named:
        return RunDir(named[-1])
    from dlrun.errors import did_you_mean

    hint = did_you_mean(word, [run.name for run in runs])
    raise RunError(
        f"there is no run {word!r}, neither as a path nor by name under {outputs}/. {hint}".strip()
    )


def all_runs(outputs: Path) -> Iterator[Path]:
    """Every run directory under `outputs`: anything that holds a status.json."""
    for folder, folders, files in os.walk(outputs):
        if "status.json" in files and "config.yaml" in files:
            folders.clear()
            yield Path(folder)
        else:
            folders[:] = sorted(name for name in folders if name != ASIDE)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty dict when the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically. Numbers that are not finite become null."""
    write_atomic(path, (json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def write_atomic(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write the whole file or nothing: temporary file, (fsync,) rename, (fsync of the directory)."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp leaves 0600
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    if sync:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in this directory last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Table:
    """A CSV file that grows by rows, flushed at most a few times a second. Columns are fixed by the first row."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.flushed = time.monotonic()
        self.file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self.writer = csv.writer(self.file, lineterminator="\n")
        if self.file.tell() == 0:
            self.writer.writerow(self.columns)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; what a row lacks stays empty."""
        self.writer.writerows([[cell(row.get(column)) for column in self.columns] for row in rows])
        if time.monotonic() - self.flushed > 0.5:
            self.flush()

    def flush(self) -> None:
        self.file.flush()
        self.flushed = time.monotonic()

    def close(self) -> None:
        self.file.close()


def cell(value: Any) -> str:
    """A number as Python prints it (the shortest text that reads back the same); nothing for None."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def rewrite_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a CSV file as a whole, atomically."""
    lines = [",".join(columns)]
    lines += [",".join(cell(row.get(column)) for column in columns) for row in rows]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def cut_steps(path: Path, last_step: int) -> None:
    """Remove the rows of steps.csv beyond a step, and a last line that was never finished."""
    if not path.exists():
        return
    header, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] or [""]
    kept = [line for line in lines if _step_of(line) <= last_step]
    write_atomic(path, ("\n".join([header, *kept]) + "\n").encode() if header else b"")


def _step_of(line: str) -> float:
    first = line.split(",", 1)[0]
    return int(first) if first.isdigit() else float("inf")

"""Write the files of a run, either atomically or by appending."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from dlrun import bounded
from dlrun.plain import json_value

TEMPORARY = ".tmp"  # suffix of unfinished files


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object atomically. Numbers that are not finite are written as null."""
    text = json.dumps(json_value(value), indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, text.encode(errors="backslashreplace"))  # file names need not be UTF-8


def write_atomic(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file atomically, by renaming a temporary one. With `sync`, it survives a power failure."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
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


def now() -> str:
    """The present time in ISO 8601, with the time zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def sync_directory(path: Path) -> None:
    """Flush a directory to disk, so that a rename in it survives a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_append(path: Path) -> IO[str]:
    """Open a text file for appending. Raises `OSError` for links and for anything else but an ordinary file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO would block
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return os.fdopen(handle, "a", newline="", encoding="utf-8", errors="backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class CsvTable:
    """A CSV file to which rows are appended. It is flushed at most twice a second."""

    file: IO[str]

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self.flushed = time.monotonic()

    def open(self) -> CsvTable:
        """Open the file for appending, and write the header if the file is empty."""
        self.file = open_append(self.path)
        if os.fstat(self.file.fileno()).st_size == 0:
            self.file.write(",".join(self.columns) + "\n")
        return self

    def add(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append rows of numbers. The cells of missing numbers are empty."""
        for row in rows:
            self.file.write(csv_line(row, self.columns))
        if time.monotonic() - self.flushed > 0.5:
            self.flush()

    def flush(self) -> None:
        self.file.flush()
        self.flushed = time.monotonic()

    def close(self) -> None:
        self.file.close()


def csv_line(row: Mapping[str, object], columns: Sequence[str]) -> str:
    """One line of a CSV file of numbers, which need no quotes."""
    cells = (row.get(column) for column in columns)
    return ",".join(["" if cell is None else str(cell) for cell in cells]) + "\n"


def rewrite_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Replace a CSV file atomically."""
    lines = [",".join(columns) + "\n", *(csv_line(row, columns) for row in rows)]
    write_atomic(path, "".join(lines).encode())


def cut_steps(path: Path, last_step: int) -> None:
    """Remove the rows of steps.csv after a step, and an unfinished last line."""
    if not path.exists():
        return
    header, *lines = bounded.read_text(path, errors="replace").split("\n")[:-1] or [""]
    kept = [line for line in lines if _step_of(line) <= last_step]
    write_atomic(path, ("\n".join([header, *kept]) + "\n").encode() if header else b"")


def _step_of(line: str) -> float:
    first = line.split(",", 1)[0]
    return int(first) if first.isdigit() else float("inf")

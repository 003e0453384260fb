"""Files of the user's, read within bounds: regular files only, no more than a limit, unpacked where they are gzip.

A FIFO or a device would block or never end, and some kilobytes of gzip unpack to gigabytes. No torch here.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from dlrun import bounded
from dlrun.errors import DataError

MOST_BYTES = 128 * 2**20  # of a text, unpacked
LISTED = 10  # faults of a file that are shown one by one
GZIP = b"\x1f\x8b"


def open_data_file(path: Path) -> BinaryIO:
    """The file, open for reading. Raises `DataError` where there is none, or it is no regular file."""
    try:
        return os.fdopen(bounded.open_regular(path), "rb")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: {reason if reason.startswith('is a ') else f'cannot be read ({reason})'}.") from error


def read_unpacked(path: Path, most: int = MOST_BYTES) -> bytes:
    """The file's content, unpacked if it is gzip, whatever its name says. Raises `DataError` beyond `most` bytes."""
    with open_data_file(path) as file:
        try:
            packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            data = gzip.GzipFile(fileobj=file).read(most + 1) if packed else file.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read ({error}).") from error
    if len(data) > most:
        raise DataError(f"{path}: holds more than {most >> 20} MiB{' unpacked' * packed}, the most that is read.")
    return data


class Faults:
    """What is wrong with a file, line by line: the first ones are kept, all are counted."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self.first: list[str] = []

    def add(self, fault: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(fault)

    def refuse(self, hint: str = "") -> None:
        """Raise `DataError` if there were any."""
        if self.count:
            more = [f"and {self.count - LISTED} more"] if self.count > LISTED else []
            lines = "\n".join(f"  {line}" for line in [*self.first, *more])
            raise DataError(f"{self.where}: {self.count} bad line{'s' * (self.count > 1)}.\n{lines}\n{hint}".rstrip())


def check_utf8(data: bytes, where: str) -> None:
    """Raise `DataError` with the lines that are not UTF-8."""
    faults = Faults(where)
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            faults.add(f"line {number}: byte {error.object[error.start]:#04x} is not UTF-8")
    faults.refuse("Save the file as UTF-8.")

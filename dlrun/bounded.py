"""Read files within bounds: ordinary files only, of limited size and nesting.

Reading a pipe blocks, and reading a device may not end. Parsers in C crash on text with 10,000 levels of nesting.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

MOST_BYTES = 64 * 2**20
DEEPEST = 100  # levels of mappings and lists


def open_regular(path: Path) -> int:
    """Open an ordinary file for reading, and return its descriptor. Raises `OSError` for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of an ordinary file. Raises `OSError`, also if it has more than `most` bytes."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        words = f"holds more than {most / 2**20:g} MiB, the most that is read"
        raise OSError(errno.EOVERFLOW, words, str(path))
    return data


def read_text(path: Path, most: int = MOST_BYTES, errors: str = "strict") -> str:
    """The text of an ordinary file, with `\\n` at line ends. Raises `OSError` and `UnicodeDecodeError`."""
    text = read_bytes(path, most).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_nested_deeply(text: str) -> bool:
    """Whether a JSON text has more than `DEEPEST` levels of nesting."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth, quoted = 0, False
    for found in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        sign = found[0]
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign in "[{":
            depth += 1
        elif not quoted and sign in "]}":
            depth -= 1
        if depth > DEEPEST:
            return True
    return False

"""Files read within bounds: ordinary files only, no more than so many bytes, nested no deeper than any of ours is.

A pipe would block, a device never end; parsers written in C crash on text that is nested some 10,000 times.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

MOST_BYTES = 64 * 2**20
DEEPEST = 100  # mappings and lists in each other


def open_regular(path: Path) -> int:
    """A descriptor of an ordinary file, open for reading. Raises `OSError`, with `strerror` in our words."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else opening a pipe waits for its writer
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of an ordinary file. Raises `OSError`, also when it is longer than that."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        words = f"holds more than {most / 2**20:g} MiB, the most that is read"
        raise OSError(errno.EOVERFLOW, words, str(path))
    return data


def read_text(path: Path, most: int = MOST_BYTES, errors: str = "strict") -> str:
    """The text of an ordinary file, with `\\n` at the end of lines. Raises `OSError` and `UnicodeDecodeError`."""
    text = read_bytes(path, most).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_nested_deeply(text: str) -> bool:
    """Whether brackets in this JSON stand in each other more than `DEEPEST` times."""
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

"""The lock of a folder, which a process holds until it ends, and the question who holds it."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from dlrun.errors import InUse, RunError

LOCK = ".lock"
_held: set[int] = set()  # the file descriptors of this process's locks


def _release_all() -> None:
    """Close the locks in a forked child, such as a DataLoader worker: they belong to its parent."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_release_all)


class Lock:
    """The lock of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None  # a file descriptor

    def hold(self, patience: float = 0.05) -> None:
        """Acquire the lock. Raises `InUse` if another process holds it.

        `holder` takes a shared lock for a moment, so acquiring is tried again for `patience` seconds.
        """
        refuse_links([self.folder / LOCK])
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        if not _taken(handle, patience):
            owner = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            raise InUse(self.folder, owner)
        _held.add(handle)
        self._handle = handle
        os.truncate(handle, 0)
        os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode())

    def release(self) -> None:
        """Release the lock."""
        if self._handle is not None:
            _held.discard(self._handle)
            os.close(self._handle)
            self._handle = None


def _taken(handle: int, patience: float) -> bool:
    """Try to acquire the lock of an open file for `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(patience / 20)
        except OSError:  # the file system does not support locks
            return True


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise `RunError` if one of these paths is a link, a pipe or a device, which dlrun never writes to.

    Through a link, files outside of the folder would be overwritten.
    """
    for path in paths:
        if os.path.islink(path):
            hint = "Remove it, or put there what it leads to."
            raise RunError(f"{path} is a link to {os.readlink(path)}: dlrun writes through no link. {hint}")
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise RunError(f"{path} is a pipe or a device, not a file. Remove it.")


def holder(folder: Path) -> str | None:
    """A description of the process that holds the folder, None if no process does, "" if that is not known.

    It is not known if the file system does not support locks or the lock cannot be read.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:  # a shared lock, which does not conflict with another one
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(handle, 200).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(handle)


def is_free(folder: Path) -> bool:
    """Whether no process holds the folder."""
    return holder(folder) is None


def owner(folder: Path) -> int | None:
    """The PID of the process that holds the folder, if it runs on this machine."""
    found = re.fullmatch(rf"pid (\d+) on {re.escape(socket.gethostname())}", holder(folder) or "")
    return int(found[1]) if found else None

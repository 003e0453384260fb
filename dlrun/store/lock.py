"""The lock of a folder: one process holds it while it lives, and anybody may ask who does."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from dlrun.errors import InUse, RunError

NAME = ".lock"
_held: set[int] = set()  # the file descriptors of this process's locks


def _release_all() -> None:
    """In a child that was forked (a process that reads data): locks are its parent's, and end with that."""
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
        """Hold the folder until this process ends.

        Whoever asks about the lock holds it for a moment: it is tried again for `patience` seconds. Raises `InUse`
        when another process has it.
        """
        refuse_links([self.folder / NAME])
        handle = os.open(self.folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        if not _taken(handle, patience):
            owner = os.read(handle, 200).decode(errors="replace")
            os.close(handle)
            raise InUse(self.folder, owner)
        _held.add(handle)
        self._handle = handle
        os.truncate(handle, 0)
        os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}".encode())

    def release(self) -> None:
        """Let the folder go."""
        if self._handle is not None:
            _held.discard(self._handle)
            os.close(self._handle)
            self._handle = None


def _taken(handle: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(patience / 20)
        except OSError:  # a file system that knows no locks
            return True


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise `RunError` if one of these places is taken by a link, a pipe or a device: dlrun writes to none of them.

    A link in a folder that somebody else made would lead out of it.
    """
    for path in paths:
        if os.path.islink(path):
            hint = "Remove it, or put there what it leads to."
            raise RunError(f"{path} is a link to {os.readlink(path)}: dlrun writes through no link. {hint}")
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise RunError(f"{path} is a pipe or a device, not a file. Remove it.")


def holder(folder: Path) -> str | None:
    """What the process that holds the folder wrote into its lock; None if nobody holds it.

    Where that cannot be told (the file system knows no locks, the file may not be read), it is the empty string.
    """
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:  # a shared probe: two of them do not see each other
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
    """The number of the process that holds the folder, if it is one of this machine."""
    found = re.fullmatch(rf"pid (\d+) on {re.escape(socket.gethostname())}", holder(folder) or "")
    return int(found[1]) if found else None

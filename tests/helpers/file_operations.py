"""Stop a process before the n-th operation on files that it makes: by a kill, a signal, or a disk that is full."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGING = (
    "replace", "rename", "mkdir", "unlink", "remove", "rmdir", "link", "symlink", "truncate", "write", "chmod", "fsync",
)  # fmt: skip
KILLED = 9  # an exit code
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@contextmanager
def before_operation(point: int, then: Callable[[str], None]) -> Iterator[list[str]]:
    """Call `then` before the `point`-th operation (1 = the first) that changes files, and before those that follow.

    Yields the names of the operations so far.
    """
    seen: list[str] = []

    def count(name: str) -> None:
        seen.append(name)
        if len(seen) >= point:
            then(name)

    def counted(name: str, real: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if changes(*arguments, **options):
                count(name)
            return real(*arguments, **options)

        return call

    def opens_to_write(path: object, flags: int, *_: Any, **__: Any) -> bool:
        return bool(flags & WRITING) and path != os.devnull

    def mode_writes(path: object, mode: str = "r", *_: Any, **__: Any) -> bool:
        return bool(set(mode) & set("wax+"))

    places = [(os, name, lambda *_, **__: True) for name in CHANGING]
    places += [(os, "open", opens_to_write), (builtins, "open", mode_writes), (io, "open", mode_writes)]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, changes in places:
        setattr(module, name, counted(name, getattr(module, name), changes))
    try:
        yield seen
    finally:
        for module, name, real in before:
            setattr(module, name, real)


def stopped_before(point: int, then: Callable[[str], None], work: Callable[[], object]) -> bool:
    """Do the work in a forked child, with `then` before its `point`-th operation on files and all that follow.

    True if it came that far. The work must not raise anything.
    """
    child = os.fork()
    if child == 0:
        code = 77
        try:
            with before_operation(point, then) as seen:
                work()
                code = KILLED if len(seen) >= point else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), f"the work failed when it was stopped before operation {point}"
    return code == KILLED


def kill(name: str) -> None:
    """End the process at once, as `kill -9` does."""
    os._exit(KILLED)


def terminate(name: str) -> None:
    """Send the process a SIGTERM (a second one changes nothing)."""
    os.kill(os.getpid(), signal.SIGTERM)


def fill_the_disk(name: str) -> None:
    """From now on, there is no space for anything new."""
    if name in ("open", "mkdir", "write", "link"):
        raise OSError(errno.ENOSPC, "No space left on device")

"""Signals that end a run early: the first one requests a stop, a second Ctrl-C ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes and returns it
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class Interrupted(BaseException):
    """Raised by a signal before there is anything to save. `except Exception` does not catch it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[signal.Signals(self.number)]


class Signals:
    """Context manager that handles SIGINT, SIGTERM and SIGUSR1, which SLURM sends before the time limit.

    Until `hold()` is called, the first signal raises `Interrupted`; afterwards it only sets `number`, which a loop
    checks after every batch. A further Ctrl-C calls `again`, which by default ends the process at once: this is safe,
    since files are always complete.
    """

    def __init__(self, *, held: bool = False, again: Callable[[], None] | None = None) -> None:
        self.number: int | None = None
        self.held, self.again = held, again or end_at_once
        self.before: dict[int, Handler] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._arrived) for number in EXIT_CODES}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """Do not raise `Interrupted` from now on, since there is something to save."""
        self.held = True

    def stop(self) -> bool:
        """Whether a stop was requested."""
        return self.number is not None

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            self.again()
        first, self.number = self.number is None, number
        if first and not self.held:
            raise Interrupted(number)


def end_at_once() -> None:
    """Exit with 130 at once. Only the cursor of the terminal, which a progress bar hides, is restored."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")
    os._exit(EXIT_CODES[signal.SIGINT])

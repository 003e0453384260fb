"""Signals that end a run early: the first asks for a tidy end, a second Ctrl-C ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` takes and gives it
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class Interrupted(BaseException):
    """A signal came where there is nothing to save yet. No `except Exception` on its way holds it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[signal.Signals(self.number)]


class Signals:
    """`with Signals() as signals:` notes SIGINT, SIGTERM and SIGUSR1 (which SLURM sends before its limit).

    Until `hold()` the first signal raises `Interrupted` where it arrives; afterwards it only sets `number`, which
    a loop looks at after every batch. Ctrl-C after that calls `again`, which ends the process at once if nothing
    else is given: files are whole at every moment.
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
        """From now on there is something to save: only note what arrives."""
        self.held = True

    def stop(self) -> bool:
        """Was a stop asked for?"""
        return self.number is not None

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            self.again()
        first, self.number = self.number is None, number
        if first and not self.held:
            raise Interrupted(number)


def end_at_once() -> None:
    """Exit with 130, tidying up nothing but the terminal, whose cursor a progress bar hides."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")
    os._exit(EXIT_CODES[signal.SIGINT])

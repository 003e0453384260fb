"""`Screen`: the output of a run on standard output and in train.log."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dlrun.components.plugins import given
from dlrun.plain import printable
from dlrun.report.tables import format_number
from dlrun.run.epochs import EpochTable, epoch_line
from dlrun.store.files import open_append

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from dlrun.engine.loop import EpochRecord, Progress

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
BAR = 30  # characters that are reserved for the progress bar and the remaining time
BAR_REFRESH = 4  # updates of the progress bar per second


class Screen:
    """Prints to standard output and to train.log. Lines that are printed before `open_log` are written to it later.

    Args:
        quiet: whether to print the last line only.
        silent: whether to print nothing; train.log is written in any case.
        terminal: whether to draw a progress bar and columns; None detects it.
    """

    def __init__(self, *, quiet: bool = False, silent: bool = False, terminal: bool | None = None) -> None:
        self.quiet = quiet or silent
        self.silent = silent
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self.log: IO[str] | None = None
        self.early: list[str] = []
        self.bar: RichProgress | None = None
        self.table: EpochTable | None = None

    def open_log(self, path: Path) -> None:
        """Open train.log for appending, and write the lines printed so far."""
        self.log = open_append(path)
        early, self.early = self.early, []
        for line in early:
            self.note(line)

    def line(self, text: str = "", *, style: str = "", always: bool = False) -> None:
        """Print a line on the screen and in the log. `style`, one of `CODES`, applies to terminals."""
        text = printable(text)
        self.note(text)
        if not self.silent and (always or not self.quiet):
            self.show(painted(text, style) if self.terminal else text)

    def show(self, text: str) -> None:
        """Print a line on the screen only."""
        try:
            if self.bar is None:
                print(text, flush=True)
            else:
                from rich.text import Text

                self.bar.console.print(Text.from_ansi(text), soft_wrap=True)
        except UnicodeEncodeError:  # the terminal's encoding lacks a character
            print(text.encode("ascii", "backslashreplace").decode(), flush=True)
        except OSError:  # the reader is gone (`dlrun | head`), or the disk of `dlrun > file` is full
            self.silent = self.quiet = True
            self.stop_bar()
            redirect_to_devnull(sys.stdout)

    def note(self, text: str) -> None:
        """Write a line to the log only. Errors of writing are ignored."""
        if self.log is None:
            self.early.append(text)
            return
        with suppress(OSError):
            self.log.write(f"{text}\n")
            self.log.flush()

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print aligned `name  value` lines."""
        width = max(len(name) for name, _ in rows)
        for name, value in ((name, printable(value)) for name, value in rows):
            self.note(f"  {name:<{width}}  {value}")
            if not self.quiet:
                shown = painted(f"{name:<{width}}", "cyan") if self.terminal else f"{name:<{width}}"
                self.show(f"  {shown}  {value}")

    # -- training ----------------------------------------------------------------------------------------

    def expect(self, columns: Sequence[str], epochs: int) -> None:
        """Set the columns of metrics.csv, which are printed as a table on a terminal."""
        if self.terminal:
            self.table = EpochTable(columns, epochs, shutil.get_terminal_size().columns)

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """Print the line of one epoch."""
        self.note(epoch_line(record.row, epochs, record.is_best))
        if self.quiet:
            return
        if self.table is None:
            self.show(epoch_line(record.row, epochs, record.is_best))
            return
        for line in self.table.head():
            self.show(painted(line, "dim"))
        self.show(self.table.line(record.row, record.is_best))

    def start_bar(self, steps: int, done: int) -> None:
        """Draw a progress bar over all steps of the run, on a terminal only."""
        if not self.terminal or self.quiet or os.environ.get("TERM") == "dumb":
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        words = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]left"),
        )
        self.bar = Progress(*words, console=Console(), refresh_per_second=BAR_REFRESH, transient=True, expand=True)
        self.task = self.bar.add_task("begins", total=steps, completed=done, facts="")
        self.bar.start()

    def advance(self, progress: Progress, batches_done: int, epochs: int) -> None:
        """Update the progress bar, with as many of loss, metrics and throughput of the epoch as there is room for."""
        if self.bar is None:
            return
        title = f"epoch {min(progress.epoch + 1, epochs)}/{epochs}"
        speed = progress.samples / progress.seconds if progress.seconds else 0.0
        facts = [f"loss {format_number(progress.loss)}"]
        facts += [*(f"{k} {format_number(v)}" for k, v in progress.metrics.items()), f"{speed:,.0f}/s"]
        while len(facts) > 1 and len(title + "  ".join(facts)) + BAR > self.bar.console.width:
            facts.pop()
        self.bar.update(self.task, completed=batches_done, description=title, facts="  ".join(facts))

    def stop_bar(self) -> None:
        """Remove the progress bar."""
        if self.bar is not None:
            bar, self.bar = self.bar, None
            with suppress(OSError):
                bar.stop()

    def close(self) -> None:
        """Remove the progress bar and close the log."""
        self.stop_bar()
        if self.log is not None:
            with suppress(OSError):
                self.log.close()
            self.log = None


def redirect_to_devnull(stream: IO[str]) -> None:
    """Discard all further output to a stream, so that Python can flush it at exit without an error."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def painted(text: str, style: str) -> str:
    """Add ANSI colors, unless NO_COLOR is set (https://no-color.org) or the terminal does not support them."""
    if not style or not text or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{CODES[style]}m{text}\033[0m"


def shorter(path: Path) -> str:
    """A path relative to the working folder if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def words_for(command: str, path: Path) -> str:
    """A command line for a run, with the `--plugin` flags that it needs."""
    word = shorter(path)
    if "=" in word.partition("/")[0]:  # else it would be read as an override
        word = f"./{word}"
    flags = [flag for name in given() for flag in ("--plugin", name)]
    return shlex.join(["dlrun", command, word, *flags])

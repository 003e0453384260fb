"""What a person sees of a run: a header, a bar or plain lines, a closing table; and the same words in train.log."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlrun.engine.loop import EpochRecord, Progress


class Screen:
    """Prints to standard output and to train.log. Lines that come before the log has a place are kept for it.

    Args:
        quiet: print nothing but the last line.
        silent: print nothing at all (train.log is written all the same).
        terminal: draw a progress bar; None asks the standard output.
    """

    def __init__(self, *, quiet: bool = False, silent: bool = False, terminal: bool | None = None) -> None:
        self.quiet = quiet or silent
        self.silent = silent
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self.log: IO[str] | None = None
        self.early: list[str] = []
        self.bar: Any = None

    def open_log(self, path: Path) -> None:
        """Append to this train.log from now on."""
        self.log = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 (closed by close)
        early, self.early = self.early, []
        for line in early:
            self.note(line)

    def line(self, text: str = "", *, style: str = "", always: bool = False) -> None:
        """One line on the screen and in the log. `style` (bold, dim, green, red, yellow) only on a terminal."""
        self.note(text)
        if self.silent or (self.quiet and not always):
            return
        try:
            if self.bar is not None:
                self.bar.console.print(text, style=style or None, highlight=False, markup=False)
            else:
                print(painted(text, style) if self.terminal else text, flush=True)
        except OSError:  # nobody reads on (`dlrun | head`), or the disk of `dlrun > file` is full
            self.silent = True
            self.stop_bar()
            forsake(sys.stdout)

    def note(self, text: str) -> None:
        """One line in the log alone. Where it cannot be written, the run goes on without it."""
        if self.log is None:
            self.early.append(text)
            return
        with suppress(OSError):
            self.log.write(f"{text}\n")
            self.log.flush()

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Aligned `name  value` lines."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.line(f"  {name:<{width}}  {value}")

    def start_bar(self, steps: int, done: int) -> None:
        """Draw a progress bar over all steps of the run (on a terminal only)."""
        if not self.terminal or self.quiet:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        words = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
        )
        self.bar = Progress(*words, TimeRemainingColumn(compact=True), refresh_per_second=5)
        self.task = self.bar.add_task("training", total=steps, completed=done, facts="")
        self.bar.start()

    def advance(self, progress: Progress, batches_done: int, epochs: int) -> None:
        """Move the bar: loss, metrics and throughput of the epoch so far."""
        if self.bar is None:
            return
        speed = progress.samples / progress.seconds if progress.seconds else 0.0
        facts = [
            f"loss {progress.loss:.4f}",
            *(f"{k} {v:.4f}" for k, v in progress.metrics.items()),
            f"{speed:,.0f}/s",
        ]
        title = f"epoch {min(progress.epoch + 1, epochs)}/{epochs}"
        self.bar.update(self.task, completed=batches_done, description=title, facts="  ".join(facts))

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """The line of one epoch."""
        row = record.row
        words = [f"epoch {int(row['epoch']):>{len(str(epochs))}}/{epochs}"]
        shown = [
            key for key in row if key not in ("epoch", "step", "lr", "epoch_seconds", "samples_per_second")
        ]
        words += [f"{key} {row[key]:.4f}" for key in shown]
        words += [f"lr {row['lr']:.3g}", f"{row['samples_per_second']:,.0f}/s"]
        self.line("  ".join(words) + ("  *" if record.is_best else ""))

    def stop_bar(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def close(self) -> None:
        """Take the bar away and close the log."""
        self.stop_bar()
        if self.log is not None:
            with suppress(OSError):
                self.log.close()
            self.log = None


def forsake(stream: IO[str]) -> None:
    """What is still to be printed goes nowhere, without an error when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def painted(text: str, style: str) -> str:
    """ANSI colours, unless NO_COLOR is set (https://no-color.org)."""
    if not style or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{CODES[style]}m{text}\033[0m"


def shorter(path: Path) -> str:
    """The path from here, if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {int(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"

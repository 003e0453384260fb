"""The output of a running sweep: a live table on a terminal, and a line for each job that has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dlrun.plain import printable, say
from dlrun.report.tables import format_number, format_seconds
from dlrun.run.screen import redirect_to_devnull
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_lines
from dlrun.sweep.folder import FrozenJob, SweepDir
from dlrun.sweep.state import Record

REDRAW_SECONDS = 0.25  # seconds between redrawings
FIRST_ENDS = 3  # jobs that have ended before their speed is shown
MOST_SHOWN = 12  # running jobs that are listed
PLAIN_SECONDS = 60.0  # between listings of the running jobs where there is no terminal
STYLES = {"finished": "green", "pruned": "yellow", "failed": "red", "waiting": "yellow"}


@contextmanager
def ignore_closed_stdout() -> Iterator[None]:
    """Ignore errors of a closed or full standard output (`| head`, `> /dev/full`, `>&-`): the sweep continues."""
    try:
        yield
        sys.stdout.flush()
    except OSError:
        redirect_to_devnull(sys.stdout)


class SweepScreen:
    """Prints the progress of a sweep. `with screen:` draws the live table, on a terminal only."""

    def __init__(self, *, quiet: bool = False, terminal: bool | None = None) -> None:
        self.quiet = quiet
        self.terminal = (sys.stdout.isatty() if terminal is None else terminal) and not quiet
        self.live: Any = None
        self.total = 0
        self.done = 0
        self.failed = 0
        self.ends = 0  # jobs that ended during this command, but for those that were stopped
        self.began = self.drawn = 0.0

    def __enter__(self) -> SweepScreen:
        if self.terminal:
            from rich.live import Live

            self.live = Live(refresh_per_second=4, transient=True)
            self.live.start()
        self.began = self.drawn = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def expect(self, total: int, done: int) -> None:
        """Set how many jobs there are and how many are done already."""
        self.total, self.done = total, done

    def note(self, text: str, *, style: str = "") -> None:
        """Print one line, unless quiet."""
        if self.quiet:
            return
        if self.live is not None:
            self.live.console.print(printable(text), style=style or None, highlight=False, markup=False)
        else:
            with ignore_closed_stdout():
                say(text)

    def ended(self, sweep: SweepDir, job: FrozenJob, record: Record) -> None:
        """Count a job that has ended, and print its line."""
        self.done += record.state != "waiting"
        self.failed += record.state == "failed"
        stopped = record.state == "waiting"
        self.ends += not stopped
        state = "stopped" if stopped else record.state
        words = [f"[{self.done:>{len(str(self.total))}}/{self.total}]", state, job.label]
        if record.state == "failed":
            words.append(f": {record.failure.first_line if record.failure else 'no reason is known'}")
        elif not stopped:
            words.append(best_value(sweep, job))
        words.append(f"({format_seconds(record.seconds)})")
        self.note(" ".join(filter(None, words)).replace(" : ", ": "), style=STYLES.get(record.state, ""))

    def update(self, sweep: SweepDir, running: Sequence[FrozenJob]) -> None:
        """Show the running jobs, if enough time has passed since the last call."""
        now = time.monotonic()
        if self.live is None:
            if now - self.drawn > PLAIN_SECONDS:
                self.drawn = now
                self.note(self.summary(len(running)))
                for job in running[:MOST_SHOWN]:
                    self.note(f"  running {job.label} {epoch_progress(sweep, job)}")
        elif now - self.drawn > REDRAW_SECONDS:
            self.drawn = now
            self.live.update(self.table(sweep, running))

    def summary(self, running: int) -> str:
        """`12/60 done, 2 running, 1 failed, 3.1 jobs a second, about 16 s left`."""
        words = [f"{self.done}/{self.total} done", f"{running} running"]
        words += [f"{self.failed} failed"] if self.failed else []
        elapsed = time.monotonic() - self.began
        if self.ends >= FIRST_ENDS and self.done < self.total and elapsed > 0:
            words.append(speed(self.ends / elapsed))
            words.append(f"about {format_seconds((self.total - self.done) * elapsed / self.ends)} left")
        return ", ".join(words)

    def table(self, sweep: SweepDir, running: Sequence[FrozenJob]) -> Any:
        """The live table: a progress bar, the summary, and the running jobs with epoch and loss."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = ProgressBar(total=max(1, self.total), completed=self.done, width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(bar, Text(self.summary(len(running)), style="bold"))
        body = Table.grid(padding=(0, 2))
        for job in running[:MOST_SHOWN]:
            body.add_row(Text("  " + job.label), Text(epoch_progress(sweep, job), style="cyan"))
        if len(running) > MOST_SHOWN:
            body.add_row(Text(f"  and {len(running) - MOST_SHOWN} more"), Text(""))
        return Group(head, body)


def speed(rate: float) -> str:
    """`3.1 jobs a second`, or a minute or an hour, so that the number is at least 1 if it can be."""
    units = (("a second", 1.0), ("a minute", 60.0), ("an hour", 3600.0))
    unit, seconds = next((pair for pair in units if rate * pair[1] >= 1), units[-1])
    number = rate * seconds
    return f"{number:.1f} jobs {unit}" if number < 9.95 else f"{number:,.0f} jobs {unit}"


def epoch_progress(sweep: SweepDir, job: FrozenJob) -> str:
    """`epoch 3/10  train_loss 0.1234`, from the end of metrics.csv."""
    lines = read_lines(sweep.run(job.slug).metrics)
    epochs = job.values["trainer"]["epochs"]
    if not lines or len(lines) < 2:
        return f"epoch 0/{epochs}" if sweep.run(job.slug).status.exists() else "starting"
    row = dict(zip(lines[0].split(","), lines[-1].split(","), strict=False))
    words = [f"epoch {row.get('epoch')}/{epochs}"]
    for name in ("train_loss", "val_loss", "test_loss"):
        try:
            words.append(f"{name} {format_number(float(row.get(name) or 'x'))}")
        except ValueError:
            continue
    return "  ".join(words)


def best_value(sweep: SweepDir, job: FrozenJob) -> str:
    """`val_loss 0.1234`, the best value of the monitored metric; empty if there is none."""
    run = StoredRun(sweep.place(job.slug))
    value = run.best().get(run.monitor)
    return "" if value is None else f"{run.monitor} {format_number(value)}"

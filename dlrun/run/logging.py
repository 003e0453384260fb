"""`RunLogger`: give the records of a run to its logger, whose failures never end the run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dlrun.assembly.assemble import a_type, arguments
from dlrun.components.registry import LOGGERS
from dlrun.components.signature import is_plain_function
from dlrun.config.config import Config
from dlrun.errors import COMPONENT_RAISES, in_words
from dlrun.generators import load_rng_state, rng_state
from dlrun.loggers.record import EpochDone, Logger, Row, RunBegun, RunEnded, State
from dlrun.plain import Values
from dlrun.run.context import RunContext
from dlrun.store.files import open_append
from dlrun.store.reading import read_json, read_lines

SILENT = "default"  # the logger that records nothing


class RunLogger:
    """The logger of a run. At its first exception a warning is printed, and it is given nothing more.

    RUN/logged.csv holds what it was given, so that a resumed run gives it no epoch twice.
    """

    def __init__(self, context: RunContext) -> None:
        self.context, self.run, self.name = context, context.run, context.config.logger.name
        self.log: Logger | None = None
        self.id, self.given = secrets.token_hex(4), 0  # the step of the last epoch that an earlier session gave

    def begin(self) -> None:
        """Make the logger, and give it the first record."""
        if self.name == SILENT:
            return
        with self.guarded():
            if self.context.resumed:
                self.read_given()
            self.log = make_logger(self.context.config)
            rows = tuple(dict(row) for row in self.context.state.history.rows)
            begun = RunBegun(
                **self.of_run(),
                config=self.context.config.flat(),
                resumed=self.context.resumed,
                rows=rows,
                given=self.given,
            )
            self.log(begun)
            self.note(rows[-1]["step"] if begun.missed else self.given)

    def epoch(self, row: Row, best: bool) -> None:
        """Give an epoch to the logger."""
        if self.log is not None:
            with self.guarded():
                self.log(EpochDone(**self.of_run(), row=dict(row), best=best, again=row["step"] <= self.given))
                self.note(row["step"])

    def end(self, state: State) -> None:
        """Give the last record, after all files of the run are written."""
        if self.log is not None:
            with self.guarded():
                summary = read_json(self.run.summary) if state in ("finished", "pruned") else {}
                figures = tuple(sorted(self.run.path.resolve().glob("*.png")))
                best = self.run.best.resolve() if self.run.best.exists() else None
                self.log(RunEnded(**self.of_run(), state=state, summary=summary, figures=figures, best=best))
            self.log = None

    def of_run(self) -> Values:
        """What every record says of the run."""
        return {"name": self.context.name, "path": self.run.path.resolve(), "id": self.id}

    def read_given(self) -> None:
        """Read from logged.csv the identifier of the run, and the last step that this logger was given."""
        for line in read_lines(self.run.file("logged.csv")) or ():
            of, step, name = line.split(",", 2)
            if of != self.id:
                self.id, self.given = of, 0
            if name == self.name:
                self.given = max(self.given, int(step))

    def note(self, step: float) -> None:
        """Write to logged.csv that the logger was given all epochs up to this step."""
        with open_append(self.run.file("logged.csv")) as file:
            file.write(f"{self.id},{step:.0f},{self.name}\n")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Context manager in which an exception switches the logger off, and random numbers are drawn for nothing."""
        device = self.context.state.device
        state = rng_state(device)
        try:
            yield
        except COMPONENT_RAISES as error:
            self.log = None
            words = f"warning: the logger {self.name} failed, and is given nothing more: {in_words(error)}"
            self.context.screen.line(f"  {words}", style="yellow")
        finally:
            load_rng_state(state, device)


def make_logger(config: Config) -> Logger:
    """Make the logger of a configuration: a function of a record."""
    component, options = LOGGERS.get(config.logger.name), arguments(config, "logger")
    if is_plain_function("logger", component):
        return partial(component, **options)
    made = component(**options)
    if not callable(made):
        raise TypeError(f"{config.logger.name} returned {a_type(made)}, not a function of a record")
    return made

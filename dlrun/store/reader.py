"""Read run directories of any version as plain values.

A missing or damaged file is read as an empty one, so that reports show what is there. Neither numpy nor torch is
imported.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path

from dlrun.config.schema.schema import text_schema
from dlrun.config.schema.words import key_of, repeating_overrides, respelled_word
from dlrun.plain import Values, finite, numbers
from dlrun.store import lock
from dlrun.store.failure import Failure, read_failure
from dlrun.store.marks import folders_of
from dlrun.store.reading import Columns, read_columns, read_json, read_lines
from dlrun.store.scales import Bounds, column_bounds, direction
from dlrun.store.sections import Part, joined, read_config_parts

RESUMED = "# resumed "  # begins the lines of overrides.txt that say where a run was resumed, and with which overrides


class StoredRun:
    """A run directory. Files are read when they are needed, and cached."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def file(self, name: str) -> Path:
        """The path of a file of the run, also while the run is being replaced."""
        *first, last = (folder / name for folder in folders_of(self.path))
        return next((place for place in first if os.path.lexists(place)), last)

    @cached_property
    def config(self) -> Values:
        """The values of config.yaml, nested. Runs share equal sections: do not change them."""
        return joined(part.values for part in self._parts)

    @cached_property
    def flat(self) -> Values:
        """The values of config.yaml by dotted key."""
        return joined(part.flat for part in self._parts)

    @property
    def figure_format(self) -> str:
        """`report.format`: the format in which figures are drawn, too."""
        return str(self.flat.get("report.format") or "png")

    @cached_property
    def _parts(self) -> list[Part]:
        return read_config_parts(self.file("config.yaml"), text_schema())

    @cached_property
    def status(self) -> Values:
        return read_json(self.file("status.json"))

    @cached_property
    def summary(self) -> Values:
        return read_json(self.file("summary.json"))

    @cached_property
    def environment(self) -> Values:
        return read_json(self.file("environment.json"))

    @cached_property
    def metrics(self) -> Columns:
        """The columns of metrics.csv, with one row for each epoch: the last one that was written."""
        columns = read_columns(self.file("metrics.csv"))
        epochs = columns.get("epoch", [])
        latest = {epoch: row for row, epoch in enumerate(epochs) if math.isfinite(epoch)}
        return {name: [values[row] for row in latest.values()] for name, values in columns.items()}

    @cached_property
    def steps(self) -> Columns:
        """The columns of steps.csv: `step`, `loss` and `lr`."""
        return read_columns(self.file("steps.csv"))

    @property
    def state(self) -> str:
        """The state: running, finished, pruned, failed, interrupted, dead (see `state_of`) or unknown."""
        return state_of(self.path, self.status)

    @property
    def name(self) -> str:
        return str(self.status.get("name") or self.path.name)

    @property
    def full_name(self) -> str:
        """The name, or SWEEP/JOB for the job of a sweep."""
        sweep = sweep_of(self.path)
        return f"{sweep.name}/{self.path.name}" if sweep else self.name

    @property
    def started(self) -> float:
        """The time when the run began, in seconds since 1970."""
        return started_of(self.path, self.status)

    @property
    def title(self) -> str:
        """A heading such as `mlp on digits`."""
        words = [component(self.config, part) for part in ("model", "dataset")]
        return " on ".join(word for word in words if word) or self.name

    @property
    def monitor(self) -> str:
        """The metric that selects the best epoch."""
        named = self.summary.get("monitor") or self.auto("monitor") or self.flat.get("checkpoint.monitor")
        if named and named != "auto":
            return str(named)
        known = [f"{part}_loss" for part in ("val", "test", "train") if f"{part}_loss" in self.metrics]
        return known[0] if known else "val_loss"

    @property
    def mode(self) -> str:
        """Whether less or more of the monitored metric is better: min or max."""
        return str(self.summary.get("mode") or self.auto("mode") or self.direction(self.monitor) or "min")

    def direction(self, column: str) -> str | None:
        """Whether less or more of a column such as `val_accuracy` is better: min, max, or None if that is not known."""
        return direction(self.summary if "better" in self.summary else self.environment, column)

    def bounds(self, column: str) -> Bounds:
        """The least and largest value that a column such as `val_accuracy` can have, None where there is no bound."""
        return column_bounds(self.summary if "bounds" in self.summary else self.environment, column)

    def auto(self, key: str) -> str:
        """The value that was chosen for `checkpoint.KEY=auto`, which is stored before there is a summary."""
        values = self.environment.get("auto")
        return str(values.get(f"checkpoint.{key}") or "") if isinstance(values, Mapping) else ""

    def part(self, name: str) -> dict[str, float]:
        """The numbers in a section of summary.json: best, last, test, baseline, counts or times."""
        return numbers(self.summary.get(name))

    def best(self) -> dict[str, float]:
        """The metrics of the best epoch, from summary.json or else from metrics.csv."""
        return self.part("best") or best_row(self.metrics, self.monitor, self.mode)

    def last(self) -> dict[str, float]:
        """The metrics of the last epoch, from summary.json or else from metrics.csv."""
        return self.part("last") or {name: values[-1] for name, values in self.metrics.items() if values}

    @property
    def seconds(self) -> float | None:
        """The duration of the run, or the sum of its epochs if the duration is not known."""
        total = self.part("times").get("total_seconds")
        return total if total is not None else sum(finite(self.metrics.get("epoch_seconds", []))) or None

    @property
    def command(self) -> str:
        """The command that repeats the run in another directory, or the empty string if it is not known."""
        if self.words is None:
            return ""
        return shlex.join(["dlrun", *self.plugin_flags, *repeating_overrides(self.words, text_schema())])

    @property
    def plugin_flags(self) -> list[str]:
        """`--plugin FILE` for each file of components that the run was started with."""
        listed = self.environment.get("plugins")
        names = (
            [str(plugin.get("name")) for plugin in listed if isinstance(plugin, dict)]
            if isinstance(listed, list)
            else []
        )
        return [word for name in names if name.endswith(".py") for word in ("--plugin", name)]

    @property
    def commands(self) -> str:
        """`command`, and a line for each time the run was resumed: `dlrun resume RUN ...  # after epoch 4`."""
        lines = (line.removeprefix(RESUMED).partition(": ") for line in self.resumed)
        return "\n".join([self.command, *(f"dlrun resume RUN {words}  # {when}" for when, _, words in lines)])

    @cached_property
    def words(self) -> list[str] | None:
        """The overrides of the run, with the present names of their keys; None if they are not known."""
        lines = read_lines(self.file("overrides.txt"))
        return None if lines is None else [self._today(line) for line in lines if not line.startswith(RESUMED)]

    @cached_property
    def resumed(self) -> list[str]:
        """The lines of overrides.txt that say where the run was resumed, and with which overrides."""
        return [line for line in read_lines(self.file("overrides.txt")) or [] if line.startswith(RESUMED)]

    def _today(self, word: str) -> str:
        return respelled_word(word, text_schema(), self.config)

    @property
    def choices(self) -> dict[str, str]:
        """The options of groups that the overrides choose, such as `momentum` for `optimizer`."""
        pairs = (word.partition("=") for word in self.words or [])
        groups = {name for name, section in self.config.items() if isinstance(section, Mapping)}
        return {key: option for key, _, option in pairs if key in groups and option.isidentifier()}

    @property
    def overridden(self) -> set[str] | None:
        """The keys that the overrides set, also those of resuming; None if they are not known."""
        if self.words is None:
            return None
        later = (word for line in self.resumed for word in line.partition(": ")[2].split() if "=" in word)
        return {key_of(word) for word in (*self.words, *map(self._today, later))}

    @property
    def failure(self) -> Failure | None:
        """The failure that status.json holds, if any."""
        return read_failure(self.status)

    def traceback(self, lines: int = 60, *, own: bool = True) -> str:
        """The traceback of the failure, from status.json, the log of the sweep's job or train.log.

        A crash or a timeout leaves its stack in the log of the job. If there is no stack at all, the last lines of the
        log are returned.

        Args:
            lines: the maximal number of lines.
            own: whether status.json and train.log belong to the attempt that failed, not to an earlier one.
        """
        if own and self.status.get("traceback"):
            return str(self.status["traceback"])
        paths = [self.process_log, self.file("train.log")] if own else [self.process_log]
        logs = [read_lines(path) or [] for path in paths if path]
        stacks = [stack for log in logs if (stack := last_stack(log, lines))]
        ends = [log[-20:] for log in logs if log]
        return "\n".join(next(iter(stacks + ends), []))

    @property
    def process_log(self) -> Path | None:
        """The file with the output of the job's process; None for a run that is not a job of a sweep."""
        sweep = sweep_of(self.path)
        return sweep / ".state" / f"{self.path.name}.log" if sweep else None


STACK = re.compile(r"Traceback \(most recent call last\)|Fatal Python error: |Timeout \(\d+:")


def last_stack(log: Sequence[str], most: int) -> list[str]:
    """The last traceback in a log, of Python or of its faulthandler, with at most `most` lines."""
    starts = [row for row, line in enumerate(log) if STACK.match(line)]
    if not starts:
        return []
    stack = [line for line in log[starts[-1] :] if not line.startswith("Extension modules: ")]
    innermost_last = stack[0].startswith("Traceback")
    return stack[-most:] if innermost_last else stack[:most]


def state_of(path: Path, status: Mapping[str, object]) -> str:
    """The state of a run by its status.json. A run that says `running` but whose lock is free is `dead`."""
    state = str(status.get("state") or "unknown")
    return "dead" if state == "running" and lock.is_free(path) else state


def started_of(path: Path, status: Mapping[str, object]) -> float:
    """The time when a run began, in seconds since 1970, or when its folder was changed if that is not known."""
    with suppress(ValueError, OverflowError, OSError):
        started = datetime.fromisoformat(str(status.get("started")))
        if 1970 < started.year < 9999:  # times at the limits do not exist in every time zone
            return started.timestamp()
    return os.stat(path).st_mtime


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep that a run is a job of, or None."""
    folder = run.absolute().parent
    return folder.parent if folder.name == "jobs" and os.path.isfile(folder.parent / "sweep.yaml") else None


def best_row(columns: Columns, metric: str, mode: str) -> dict[str, float]:
    """The row of metrics.csv with the best value of a metric (the first of equal ones), without missing values."""
    rows = [row for row, value in enumerate(columns.get(metric, [])) if math.isfinite(value)]
    if not rows:
        return {}
    sign = -1 if mode == "max" else 1
    row = min(rows, key=lambda i: sign * columns[metric][i])
    return {name: values[row] for name, values in columns.items() if math.isfinite(values[row])}


def component(config: Mapping[str, object], group: str) -> str:
    """The name of the component in a group of a configuration."""
    section = config.get(group)
    return str(section.get("name", "")) if isinstance(section, Mapping) else str(section or "")

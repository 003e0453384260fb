"""The runs of a comparison: where they are, what a sweep knows of them, and in which settings they differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dlrun.config.schema.contract import parse_literal
from dlrun.config.schema.defaults import defaults
from dlrun.config.schema.schema import text_schema
from dlrun.errors import RunError
from dlrun.report.stats import frozen
from dlrun.store.failure import Failure, read_failure
from dlrun.store.find import expect_folder, find_runs
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_text

UNCOMPARED = "device.name"  # of what changes the speed alone, the one key that is no column
RESULTS = "results.csv"
ABSENT = object()


@dataclass(frozen=True)
class SweepEntry:
    """One job as a sweep knows it. Everything that its run directory says is read from there.

    Args:
        path: the run directory; it need not exist yet.
        keys: the swept keys and values, as on the command line (`optimizer`: `momentum`, `seed`: 0).
        status: the sweep's word (waiting, running, finished, failed, interrupted); it counts where the
            directory says nothing or is dead.
        failure: why it failed, as the sweep knows it ("killed by signal 11"): newer than the run's own word, which
            may be of an attempt before.
        command: how to run it alone; read from overrides.txt when empty.
        old: the run was gone on with since; its own word is the newer one.
    """

    path: Path
    keys: Mapping[str, Any] = field(default_factory=dict)
    status: str = ""
    failure: Failure | None = None
    command: str = ""
    old: bool = False


@dataclass(frozen=True)
class ComparedRun:
    """A `SweepEntry` and its run directory, together.

    `like` is another run of the same settings that were given in other words: its words name both.
    """

    row: SweepEntry
    run: StoredRun
    like: ComparedRun | None = None

    @cached_property
    def status(self) -> str:
        state = self.run.state
        if state == "finished" and self.run.summary.get("stopped") == "pruned":
            return "pruned"
        if self.row.status == "failed" and not self.row.old and state == "interrupted":
            return "failed"  # by the sweep: it hung, or was refused when it was to go on
        return self.row.status or state if state in ("unknown", "dead") else state

    @property
    def failure(self) -> Failure | None:
        """Why it failed: the newer of the sweep's word and the run's own, which is the longer if they agree."""
        if self.status not in ("failed", "dead", "interrupted"):
            return None
        own, told = self.run.failure, self.row.failure
        if own is None or told is None:
            return own or told
        return own if self.row.old or own.last_line == told.message.strip() else told

    @property
    def diverged(self) -> bool:
        return self.status == "failed" and self.failure is not None and self.failure.kind == "diverged"

    @property
    def command(self) -> str:
        return self.row.command or self.run.command

    def setting(self, key: str) -> Any:
        """The job's value of a key: as swept, else from its command or configuration.

        For a group it is the option or, where the command chose none, the component; "" where there is no
        such key.
        """
        if self.like is not None and key != "seed":
            return self.like.setting(key)
        if key in self.row.keys:
            return self.row.keys[key]
        known = {**self.settings, **self.choices}
        return known.get(key, known.get(f"{key}.name", below(known, key) or ""))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The run's configuration with dotted keys; what is new since the dlrun that stored it has its default."""
        told = self.run.flat
        later = defaults(self.run.config, text_schema()) if told else {}
        return told | {key: value for key, value in later.items() if key not in told and not below(told, key)}

    @cached_property
    def resolved(self) -> str:
        """All settings that the comparison can tell, but for the seed, as one text; swept ones in any case."""
        swept = tuple(f"{key}." for key in self.row.keys)
        told = [key for key in self.settings if is_compared(key) or f"{key}.".startswith(swept)]
        return frozen({key: self.settings[key] for key in told if key != "seed"})

    @cached_property
    def choices(self) -> dict[str, str]:
        return self.run.choices


def compared(row: SweepEntry) -> ComparedRun:
    """The job with its run directory, which is read when it is asked."""
    return ComparedRun(row, StoredRun(row.path))


def named_alike(jobs: Iterable[ComparedRun]) -> list[ComparedRun]:
    """The jobs, those of equal settings under one name: `optimizer=momentum` and `optimizer=sgd optimizer.momentum=0.9`
    are one row.
    """
    first: dict[str, ComparedRun] = {}
    found = []
    for job in jobs:
        other = first.setdefault(job.resolved, job) if job.settings else job
        found.append(job if other is job else ComparedRun(job.row, job.run, other))
    return found


def is_compared(key: str) -> bool:
    """Whether a key that differs between runs has a column in their comparison."""
    return key != UNCOMPARED and text_schema().effect(key).is_compared


def collect(paths: Sequence[Path]) -> list[ComparedRun]:
    """The jobs of runs, sweeps and folders of them, each once. Raises `RunError` when a path holds none."""
    found: dict[Path, ComparedRun] = {}
    for path in paths:
        rows = rows_of(expect_folder(path))
        if not rows:
            raise RunError(f"there is no run in {path} (no folder with a status.json and a config.yaml of dlrun's).")
        for row in rows:
            found.setdefault(row.path.resolve(), compared(row))
    return list(found.values())


def rows_of(folder: Path) -> list[SweepEntry]:
    """The jobs of a folder: those that its results.csv knows (directory or not), then all runs in it."""
    if is_run(folder):
        return [SweepEntry(folder)]
    return read_results(folder / RESULTS) + [SweepEntry(path) for path in find_runs(folder)]


def read_results(path: Path) -> list[SweepEntry]:
    """The jobs in a results.csv: keys are its columns before `status`. Empty when there is no such file."""
    try:
        table = list(csv.DictReader(io.StringIO(read_text(path) or "", newline="")))
    except csv.Error:
        return []
    rows = []
    for line in table:
        names = list(line)
        if "status" not in names or not line.get("path"):
            continue
        swept = names[: names.index("status")]
        keys = {text_schema().today(name): parse_literal(line[name] or "") for name in swept}
        folder = path.parent / line["path"]
        old = modified(folder / "status.json") > modified(path)
        rows.append(SweepEntry(folder, keys, line["status"] or "", read_failure(line), line.get("command") or "", old))
    return rows


def modified(path: Path) -> float:
    """When a file was written, in seconds; 0 when there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def below(flat: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A dict that is not of a group (`model.opts`), from its flat keys (`model.opts.a`)."""
    start = f"{key}."
    return {name.removeprefix(start): flat[name] for name in flat if "." in key and name.startswith(start)}


def varied_keys(jobs: Sequence[ComparedRun]) -> list[str]:
    """The keys in which the jobs differ, swept ones first; `seed` last.

    Within a group (`model`), what follows from the choice of the component is not listed: a key is, when the
    command set it or when it differs between jobs with the same component.
    """
    given = list(dict.fromkeys(key for job in jobs for key in job.row.keys))
    configs = [job for job in jobs if job.settings]
    given += [name for name in _chosen_groups(configs) if name not in given]
    order = dict.fromkeys(key for job in configs for key in job.settings)
    differ = [key for key in order if key not in given and _differs(configs, key) and is_compared(key)]
    whole = tuple(f"{key}." for key in given if "." in key)  # a dict that is swept says what is in it
    differ = [key for key in differ if not key.startswith(whole)]
    told = _overridden(configs)
    keys = given + [key for key in differ if not _follows(configs, key, given, told)]
    return [key for key in keys if key != "seed"] + [key for key in keys if key == "seed"]


def _chosen_groups(jobs: Sequence[ComparedRun]) -> list[str]:
    """Groups of which the commands chose different options (`optimizer=sgd,momentum`: both are named sgd)."""
    names = dict.fromkeys(name for job in jobs for name in job.choices if is_compared(name))
    return [name for name in names if len({repr(job.setting(name)) for job in jobs}) > 1]


def _differs(jobs: Sequence[ComparedRun], key: str) -> bool:
    return len({frozen({key: job.settings.get(key, ABSENT)}) for job in jobs}) > 1


def _overridden(jobs: Iterable[ComparedRun]) -> set[str]:
    return {key for job in jobs for key in job.run.overridden or ()}


def _follows(jobs: Sequence[ComparedRun], key: str, given: Sequence[str], told: set[str]) -> bool:
    """Whether the value of a key is settled by the choice of a component (or an experiment)."""
    section = key.split(".", 1)[0]
    choice = next((name for name in (section, "experiment") if name in given), f"{section}.name")
    if key == choice or key in told:
        return False
    values: dict[str, set[str]] = {}
    for job in jobs:
        values.setdefault(repr(job.setting(choice)), set()).add(repr(job.settings.get(key, ABSENT)))
    return len(values) > 1 and all(len(some) == 1 for some in values.values())


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Keys without their group where that is clear: `optimizer.lr` is `lr`, `model.name` is `model`."""
    short = {key: key.removesuffix(".name") if key.endswith(".name") else key.rsplit(".", 1)[-1] for key in keys}
    return {key: name if list(short.values()).count(name) == 1 else key for key, name in short.items()}

"""The runs of a comparison: found in folders, joined with the records of their sweep, and how they differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from dlrun.config.schema.contract import parse_literal
from dlrun.config.schema.defaults import defaults
from dlrun.config.schema.schema import GROUPS, Schema, text_schema
from dlrun.config.schema.words import WORKLOAD
from dlrun.errors import RunError
from dlrun.report.stats import frozen
from dlrun.report.tuning import read_tuning
from dlrun.store.failure import Failure, read_failure
from dlrun.store.find import expect_folder, find_runs
from dlrun.store.marks import is_run
from dlrun.store.reader import StoredRun, component
from dlrun.store.reading import try_read_text

RESULTS_FILE = "results.csv"
ABSENT = object()
FOLD = "dataset.fold"
REPEATS = (FOLD, "seed")  # runs that differ in these alone repeat each other


@dataclass(frozen=True)
class SweepEntry:
    """One job as its sweep records it. What its run directory holds is read from there.

    Args:
        path: the run directory, which need not exist.
        keys: the swept keys and values, as on the command line (`optimizer`: `momentum`, `seed`: 0).
        status: the state in the sweep (waiting, running, finished, failed, interrupted), used if the run directory has
            no state or the run is dead.
        failure: the reason of a failure as the sweep recorded it ("killed by signal 11"), which is newer than that in
            the run directory.
        command: the command that runs the job alone; by default read from overrides.txt.
        old: whether the run was resumed after the sweep wrote this record.
        final: whether it is a run of a comparison with equal chances, which is ranked by its test result.
        tuned: the swept keys whose values trials have chosen.
    """

    path: Path
    keys: Mapping[str, Any] = field(default_factory=dict)
    status: str = ""
    failure: Failure | None = None
    command: str = ""
    old: bool = False
    final: bool = False
    tuned: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedRun:
    """A `SweepEntry` with its run directory.

    `like` is a run with equal settings from other overrides (`optimizer=momentum`, `optimizer=sgd
    optimizer.momentum=0.9`), under whose settings both are listed.
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
            return "failed"  # in the sweep: it timed out, or could not be resumed
        return self.row.status or state if state in ("unknown", "dead") else state

    @property
    def failure(self) -> Failure | None:
        """The reason of a failure: that of the run or of the sweep, whichever is newer; the run's if they agree."""
        if self.status not in ("failed", "dead", "interrupted"):
            return None
        own, recorded = self.run.failure, self.row.failure
        if own is None or recorded is None:
            return own or recorded
        return own if self.row.old or own.last_line == recorded.message.strip() else recorded

    @property
    def diverged(self) -> bool:
        return self.status == "failed" and self.failure is not None and self.failure.kind == "diverged"

    @property
    def command(self) -> str:
        return self.row.command or self.run.command

    def setting(self, key: str) -> Any:
        """The job's value of a key: as swept, or else from its overrides or configuration; "" if it has no such key.

        The value of a group is the option, or the component if the command chose no option.
        """
        if self.like is not None and key not in REPEATS:
            return self.like.setting(key)
        if key in self.row.keys:
            return self.row.keys[key]
        for name in (key, f"{key}.name"):
            for known in (self.choices, self.settings):
                if name in known:
                    return known[name]
        return below(self.settings, key) or ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The run's configuration with dotted keys, and defaults for keys that its dlrun did not have."""
        stored = self.run.flat
        if not stored:
            return stored
        components = tuple(component(self.run.config, group) for group in GROUPS)
        later = later_keys(tuple(stored), components, text_schema())
        return stored | later if later else stored

    def fingerprint(self) -> tuple[object, ...]:
        """What `resolved` depends on, by the sections that runs share, so that it is found once for equal runs."""
        config = ((name, value) for name, value in self.run.config.items() if name not in REPEATS)
        return (*self.row.keys, *((name, id(v) if isinstance(v, dict) else repr(v)) for name, v in config))

    def resolved(self) -> str:
        """All settings that are compared or swept, without seed and fold, as one text."""
        swept = tuple(f"{key}." for key in self.row.keys)
        keys = {*compared_keys(self.settings), *(key for key in self.settings if f"{key}.".startswith(swept))}
        return frozen({key: self.settings[key] for key in keys - {*REPEATS}})

    @cached_property
    def choices(self) -> dict[str, str]:
        return self.run.choices


def compared(row: SweepEntry) -> ComparedRun:
    """The job with its run directory, whose files are read when they are needed."""
    return ComparedRun(row, StoredRun(row.path))


def with_equal_runs(jobs: Iterable[ComparedRun]) -> list[ComparedRun]:
    """The jobs, where each but the first of those with equal settings has that one as `like`."""
    first: dict[str, ComparedRun] = {}
    known: dict[tuple[object, ...], str] = {}
    found = []
    for job in jobs:
        other = job
        if job.settings:
            mark = job.fingerprint()
            known[mark] = known[mark] if mark in known else job.resolved()
            other = first.setdefault(known[mark], job)
        found.append(job if other is job else ComparedRun(job.row, job.run, other))
    return found


def compared_keys(keys: Iterable[str]) -> list[str]:
    """Those keys that have a column in a comparison of runs that differ in them: all that have an effect on the
    result or the speed, but for `device.name`.
    """
    schema = text_schema()
    return [key for key in keys if _is_compared(key, schema)]


@lru_cache(maxsize=8192)
def _is_compared(key: str, schema: Schema) -> bool:
    return key != "device.name" and schema.effect(key).is_compared


@lru_cache(maxsize=1024)
def later_keys(stored: tuple[str, ...], components: tuple[str, ...], schema: Schema) -> dict[str, Any]:
    """The defaults of the keys that a run of these components lacks, which has the `stored` ones."""
    config = {group: {"name": name} for group, name in zip(GROUPS, components, strict=True)}
    parts = {key[:end] for key in stored for end, sign in enumerate(key) if sign == "."}  # keys that hold a dict
    found = defaults(config, schema)
    return {key: value for key, value in found.items() if key not in stored and ("." not in key or key not in parts)}


def collect(paths: Sequence[Path]) -> list[ComparedRun]:
    """The jobs of runs, sweeps and folders of them, each once. Raises `RunError` if a path holds none."""
    found: dict[Path, ComparedRun] = {}
    for path in paths:
        rows = rows_of(expect_folder(path))
        if not rows:
            raise RunError(f"there is no run in {path} (no folder with a status.json and a config.yaml of dlrun's).")
        for row in rows:
            found.setdefault(row.path.resolve(), compared(row))
    return list(found.values())


def rows_of(folder: Path) -> list[SweepEntry]:
    """The jobs of a folder: those in its results.csv, and all runs in it; of one with equal chances, the final runs."""
    if is_run(folder):
        return [SweepEntry(folder)]
    rows = read_results(folder / RESULTS_FILE) + [SweepEntry(path) for path in find_runs(folder)]
    trials = read_tuning(folder)
    if not trials:
        return rows
    spent, tuned = {trial.path.resolve() for trial in trials}, trials[0].tuned
    return [replace(row, final=True, tuned=tuned) for row in rows if row.path.resolve() not in spent]


def read_results(path: Path) -> list[SweepEntry]:
    """The jobs in a results.csv, whose columns before `status` are swept keys. Empty if there is no such file."""
    try:
        table = list(csv.DictReader(io.StringIO(try_read_text(path) or "", newline="")))
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
    """The modification time of a file in seconds; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def below(flat: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The value of a key that holds a dict (`model.opts`), from the flat keys (`model.opts.a`); {} for a group."""
    start = f"{key}."
    return {name.removeprefix(start): flat[name] for name in flat if "." in key and name.startswith(start)}


def varied_keys(jobs: Sequence[ComparedRun]) -> list[str]:
    """The keys in which the jobs differ: swept ones first, fold and seed last.

    A key whose value follows from the choice of a component (`model`) is left out, unless a command set it or it
    differs between jobs with the same component.
    """
    given = list(dict.fromkeys(key for job in jobs for key in job.row.keys))
    if jobs and all(WORKLOAD in job.row.keys for job in jobs):
        return [key for key in given if key not in REPEATS] + [key for key in REPEATS if key in given]
    configs = [job for job in jobs if job.settings]
    given += [name for name in _chosen_groups(configs) if name not in given]
    order = dict.fromkeys(key for names in dict.fromkeys(tuple(job.settings) for job in configs) for key in names)
    unlike = _unlike(configs)
    differ = compared_keys(key for key in order if key not in given and _differs(unlike, key))
    whole = tuple(f"{key}." for key in given if "." in key)  # keys of a dict that is swept as a whole
    differ = [key for key in differ if not key.startswith(whole)]
    overridden = {key for job in configs for key in job.run.overridden or ()}
    keys = given + [key for key in differ if key in overridden or not _follows(configs, key, given)]
    return [key for key in keys if key not in REPEATS] + [key for key in REPEATS if key in keys]


def _chosen_groups(jobs: Sequence[ComparedRun]) -> list[str]:
    """Groups with different options, even if the component is the same (`optimizer=sgd,momentum`: both are sgd)."""
    names = compared_keys(dict.fromkeys(name for job in jobs for name in job.choices))
    return [name for name in names if len({repr(job.setting(name)) for job in jobs}) > 1]


def _unlike(jobs: Sequence[ComparedRun]) -> dict[str, list[ComparedRun]]:
    """For each section (or key of none) one of the jobs for each object that it is: runs share equal sections."""
    found: dict[str, dict[object, ComparedRun]] = {}
    names = dict.fromkeys(name for keys in {tuple(job.run.config) for job in jobs} for name in keys)
    for job in jobs:
        for name in names:
            value = job.run.config.get(name, ABSENT)
            mark = id(value) if isinstance(value, dict) or value is ABSENT else repr(value)
            found.setdefault(name, {}).setdefault(mark, job)
    return {name: [*some.values()] for name, some in found.items()}


def _differs(unlike: Mapping[str, Sequence[ComparedRun]], key: str) -> bool:
    jobs = unlike.get(key.partition(".")[0], ())
    return len({frozen({key: job.settings.get(key, ABSENT)}) for job in jobs}) > 1


def _follows(jobs: Sequence[ComparedRun], key: str, given: Sequence[str]) -> bool:
    """Whether the value of a key follows from the choice of a component (or an experiment)."""
    section = key.split(".", 1)[0]
    choice = next((name for name in (section, "experiment") if name in given), f"{section}.name")
    if key == choice:
        return False
    values: dict[str, set[str]] = {}
    for job in jobs:
        values.setdefault(repr(job.setting(choice)), set()).add(repr(job.settings.get(key, ABSENT)))
    return len(values) > 1 and all(len(some) == 1 for some in values.values())


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Keys without their group where that is unambiguous: `lr` for `optimizer.lr`, `model` for `model.name`."""
    short = {key: key.removesuffix(".name") if key.endswith(".name") else key.rsplit(".", 1)[-1] for key in keys}
    return {key: name if list(short.values()).count(name) == 1 else key for key, name in short.items()}

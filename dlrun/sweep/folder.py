"""The folder of a sweep: sweep.yaml with its frozen jobs, their run directories, and a lock.

    sweep.yaml  status.csv  results.csv  comparison.png  report.html  jobs/SLUG/ (run directories)
    .lock  .state/ (a record and a log for each job, and an Optuna study)

The configuration of a job is frozen in sweep.yaml when the job is first composed; later commands use the frozen one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from dlrun.config.config import Config, current_schema
from dlrun.config.schema import entries
from dlrun.config.schema.schema import Schema, text_schema
from dlrun.config.schema.words import key_of, respelled_word
from dlrun.errors import ConfigError, InUse, Problem, RunError, cannot_write
from dlrun.plain import Values
from dlrun.store.files import open_append, write_atomic
from dlrun.store.find import user_path
from dlrun.store.lock import Lock, owner, refuse_links
from dlrun.store.rundir import RunDir
from dlrun.sweep.names import name_today
from dlrun.sweep.stored import SWEEP_FORMAT, read_stored

ABSENT = object()
PATIENCE = 0.5  # seconds in which another process may release the folder


@dataclass(frozen=True)
class FrozenJob:
    """A frozen job. `values` is the resolved configuration as plain values, empty for an invalid job."""

    slug: str
    fixed: tuple[str, ...]  # overrides that all jobs of the command share
    swept: dict[str, Any]
    overrides: tuple[str, ...]  # all overrides that compose this job
    values: dict[str, Any] = field(repr=False)
    identity: str = ""
    data: str = ""  # hash of the data files
    trial: int | None = None  # the number of a search's trial
    invalid: str = ""  # why it cannot be run
    flags: tuple[str, ...] = ()  # `--plugin FILE` and `--config-dir DIR` of the command
    folder: str = ""  # the working folder of the command, for relative paths
    stage: str = ""  # with equal chances: `tune`, or `final` for the runs that are ranked

    @cached_property
    def config(self) -> Config:
        """The frozen configuration."""
        return Config.stored(self.values, current_schema())

    @property
    def label(self) -> str:
        """The swept overrides, `optimizer=adam seed=0`."""
        own = self.overrides[len(self.fixed) :]
        words = [word for word in own if key_of(word) in self.swept] or own
        return " ".join(words) or " ".join(self.overrides) or "the default experiment"


class SweepDir:
    """The paths of a sweep and the content of its sweep.yaml."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.jobs: dict[str, FrozenJob] = {}
        self.commands: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}  # the `sweep` section of the last command
        self.search: dict[str, Any] = {}  # the space of a search
        self.flags: tuple[str, ...] = ()  # of the present command
        self.folder = str(Path.cwd())  # of the present command
        self.renewed: set[str] = set()  # slugs of jobs that were frozen again: their old runs are void
        self.base: Values = {}  # the configuration that entries of sweep.yaml differ from, once it was written
        self.made = False  # whether `open` has made the folder
        self.today = ""  # today's name of a folder that was named by dlrun 0.1
        self._lock = Lock(self.path)

    @property
    def file(self) -> Path:
        return self.path / "sweep.yaml"

    @property
    def state(self) -> Path:
        return self.path / ".state"

    @property
    def status(self) -> Path:
        return self.path / "status.csv"

    def run(self, slug: str) -> RunDir:
        """The run directory of a job, which need not exist."""
        return RunDir(self.place(slug))

    def place(self, slug: str) -> Path:
        """The path of a job's run directory."""
        return self.path / "jobs" / slug

    def log(self, slug: str) -> Path:
        """The output of a job's process."""
        return self.state / f"{slug}.log"

    def open(self) -> None:
        """Make the folder if needed, lock it and read sweep.yaml.

        Raises `RunError` if it is in use or damaged, `ConfigError` if it holds something else.
        """
        try:
            refuse_other_files(self.path)
            refuse_links([self.path / "jobs", self.state])
            self.made = not self.path.exists()
            for path in (self.path, self.path / "jobs", self.state):
                path.mkdir(parents=True, exist_ok=True)
            self._lock.hold(PATIENCE)
        except InUse as error:
            text = f"{self.path} is in use by another sweep ({error.owner}). To end it: dlrun sweep stop {self.path}"
            raise RunError(text) from None
        except OSError as error:
            raise RunError(cannot_write(self.path, error)) from error
        try:
            self.read()
            refuse_links([*self.state.iterdir(), *map(self.place, self.jobs)])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def remove_unused(self) -> None:
        """Remove the folder if this command has made it and nothing was written."""
        if self.made and not self.file.exists():
            shutil.rmtree(self.state, ignore_errors=True)
            with suppress(OSError):  # something else lies there by now
                (self.path / "jobs").rmdir()
                (self.path / ".lock").unlink()
                self.path.rmdir()

    def owner(self) -> int | None:
        """The number of the process on this machine that holds the lock, if any."""
        return owner(self.path)

    def read(self) -> None:
        """Read sweep.yaml, if it exists. Raises `RunError` if it is damaged or written by a later dlrun."""
        if not self.file.is_file():
            return
        values = read_stored(self.file, text_schema())
        self.today = name_today(values, self.path.name, text_schema())
        self.commands = values.get("commands", [])
        self.settings, self.search = values["settings"], values["search"]
        if found := self.search.get("space"):
            spaces = [
                {text_schema().today(key): value for key, value in space.items()}
                for space in (found if isinstance(found, list) else [found])
            ]
            self.search["space"] = spaces[0] if len(spaces) == 1 else spaces
        jobs = (job_from_entry(slug, entry, values["base"]) for slug, entry in values["jobs"].items())
        self.jobs = {job.slug: job for job in jobs}

    def write(self) -> None:
        """Write sweep.yaml. Each job has only the sections that differ from `base`."""
        self.base = next((job.values for job in self.jobs.values() if job.values), {})
        head = {
            "format": SWEEP_FORMAT,
            **({"name": {"today": self.today, "folder": self.path.name}} if self.today else {}),
            "commands": self.commands,
            "settings": self.settings,
            "search": self.search,
            "base": self.base,
        }
        text = entries.dump_entries(head, {slug: entry_of(job, self.base) for slug, job in self.jobs.items()})
        write_atomic(self.file, text.encode())

    def append(self, job: FrozenJob) -> None:
        """Add a new job, also to a sweep.yaml that `write` wrote: writing all of it anew takes longer with each job."""
        self.jobs[job.slug] = job
        if not self.base:
            self.write()
            return
        with open_append(self.file) as file:
            file.write(entries.line_of(job.slug, entry_of(job, self.base)))


def expect_sweep(path: str) -> SweepDir:
    """The sweep in a folder, read but not locked. Raises `RunError` if there is none.

    A sweep that is just beginning has a locked folder, but no sweep.yaml yet.
    """
    sweep = SweepDir(user_path(path))
    if not os.path.isfile(sweep.file) and (not os.path.isdir(sweep.state) or sweep.owner() is None):
        raise RunError(f"{path} holds no sweep (there is no sweep.yaml in it).")
    sweep.read()
    return sweep


def entry_of(job: FrozenJob, base: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a job in sweep.yaml, without empty values."""
    frozen = {key: value for key, value in job.values.items() if value is not base.get(key, ABSENT)}
    frozen = {key: value for key, value in frozen.items() if key not in base or base[key] != value}
    entry = {
        "fixed": list(job.fixed),
        "swept": job.swept,
        "overrides": list(job.overrides),
        "frozen": frozen,
        "identity": job.identity,
        "data": job.data,
        "trial": job.trial,
        "invalid": job.invalid,
        "flags": list(job.flags),
        "folder": job.folder,
        "stage": job.stage,
    }
    return {key: value for key, value in entry.items() if value not in ("", None, [], {})}


def job_from_entry(slug: str, entry: Mapping[str, Any], base: Mapping[str, Any]) -> FrozenJob:
    """The inverse of `entry_of`. Keys get today's spelling, but those of `values`, which `config` reads."""
    invalid, schema = str(entry.get("invalid") or ""), text_schema()
    values = {} if invalid else {**base, **(entry.get("frozen") or {})}
    fixed, overrides = (
        tuple(_word_today(word, component_of(word, values), schema) for word in entry.get(key) or ())
        for key in ("fixed", "overrides")
    )
    return FrozenJob(
        slug,
        fixed,
        {schema.today(key, values): value for key, value in (entry.get("swept") or {}).items()},
        overrides,
        values,
        str(entry.get("identity") or ""),
        str(entry.get("data") or ""),
        entry.get("trial"),
        invalid,
        tuple(entry.get("flags") or ()),
        str(entry.get("folder") or ""),
        str(entry.get("stage") or ""),
    )


def component_of(word: str, values: Mapping[str, Any]) -> str:
    """The component that the configuration has in the group of an override's key, on which the key's name depends."""
    section = values.get(key_of(word).partition(".")[0])
    return str(section.get("name", "")) if isinstance(section, Mapping) else ""


@lru_cache(maxsize=8192)
def _word_today(word: str, component: str, schema: Schema) -> str:
    return respelled_word(word, schema, {key_of(word).partition(".")[0]: {"name": component}})


def refuse_other_files(path: Path) -> None:
    """Raise `ConfigError` if the folder holds files, but no sweep: a sweep overwrites its files without asking."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    others = sorted(name for name in names - {"jobs"} if not name.startswith("."))  # left by a killed sweep
    if others and "sweep.yaml" not in names:
        what = "a run" if "status.json" in names else "files that are no sweep's"
        hint = "Give a folder that is new or empty, or that of a sweep."
        raise ConfigError(Problem("sweep.dir", f"{path} holds {what} ({', '.join(others[:3])}).", hint))

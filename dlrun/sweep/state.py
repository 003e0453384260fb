"""The state of each job, read from its run directory and a small record beside it.

A job is `waiting` (not begun, or interrupted with a checkpoint), `running`, `finished`, `pruned` or `failed`.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dlrun.config.compose import literal_plugins
from dlrun.config.schema.schema import text_schema
from dlrun.config.schema.words import repeating_overrides
from dlrun.plain import Values
from dlrun.report.tables import format_value
from dlrun.store.failure import Failure, read_failure
from dlrun.store.files import write_atomic, write_json
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json, read_lines
from dlrun.sweep.folder import FrozenJob, SweepDir

STATES = ("waiting", "running", "finished", "pruned", "failed")
DONE = ("finished", "pruned")


@dataclass(frozen=True)
class Record:
    """What the sweep stores of a job in `.state/SLUG.json`, beside what the run directory holds."""

    state: str = "waiting"
    failure: Failure | None = None
    last_line: str = ""
    attempts: int = 0
    seconds: float = 0.0  # of the last attempt
    memory_mib: float = 0.0  # peak of its process
    threads: int = 0  # that the run computed with on the CPU, if it began
    code: str = ""  # hash of the code that it ran with; `A then B` if that changed between attempts
    handle: str = ""  # by which an executor whose jobs outlive the sweep finds it again


WAITING = Record()  # of a job that has not begun
KINDS = {field.name: type(field.default) for field in fields(Record) if field.name != "failure"}


def read_record(sweep: SweepDir, slug: str) -> Record:
    """The stored record of a job, or a new one."""
    values = read_json(sweep.state / f"{slug}.json")
    failure = values.pop("failure", None)
    fitting: Values = {key: value for key, value in values.items() if type(value) is KINDS.get(key)}
    fitting |= {key: value for key, value in values.items() if type(value) is int and KINDS.get(key) is float}
    known = failure if isinstance(failure, dict) else values  # older versions kept the message alone
    return Record(**fitting, failure=read_failure(known))


def write_record(sweep: SweepDir, slug: str, record: Record) -> None:
    """Store the record of a job."""
    failure = record.failure.to_values() if record.failure else None
    write_json(sweep.state / f"{slug}.json", vars(record) | {"failure": failure})


def state_of_job(sweep: SweepDir, job: FrozenJob, record: Record | None = None) -> Record:
    """The record of a job (by default the stored one), updated by what its run directory holds."""
    record = read_record(sweep, job.slug) if record is None else record
    if job.invalid:
        return replace(record, state="failed", failure=Failure("input", job.invalid, exit_code=2), last_line="")
    if job.slug in sweep.renewed:
        return Record()
    run = StoredRun(sweep.place(job.slug))
    state = run.state
    if state in DONE:
        return replace(record, state=state, failure=None, last_line="")
    if state == "running":
        return replace(record, state="running")
    if record.state == "failed":
        return record
    if state == "failed":
        return replace(record, state="failed", failure=read_failure(run.status))
    return replace(record, state="waiting")


def states_of_jobs(sweep: SweepDir, jobs: Iterable[FrozenJob] | None = None) -> dict[str, Record]:
    """The present record of each of these jobs (by default all) by its slug."""
    begun = {name for folder in (sweep.path / "jobs", sweep.state) for name in names_in(folder)}
    found = {}
    for job in sweep.jobs.values() if jobs is None else jobs:
        new = job.slug not in begun and f"{job.slug}.json" not in begun and not job.invalid
        found[job.slug] = WAITING if new else state_of_job(sweep, job)
    return found


def todo_of(
    sweep: SweepDir, jobs: Iterable[FrozenJob], *, retry_failed: bool, known: Mapping[str, Record] | None = None
) -> list[FrozenJob]:
    """The jobs that are valid and not done yet; failed ones only with `retry_failed`.

    `known` are the records of those whose state was read before.
    """
    jobs = list(jobs)
    seen = {slug: record for slug, record in (known or {}).items() if slug not in sweep.renewed}
    records = seen | states_of_jobs(sweep, [job for job in jobs if job.slug not in seen])
    skipped = DONE if retry_failed else (*DONE, "failed")
    return [job for job in jobs if not job.invalid and records[job.slug].state not in skipped]


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none if it cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def last_line(path: Path) -> str:
    """The last line of a job's log between the run's header and the stacks that faulthandler prints."""
    text = "\n".join(read_lines(path) or [])
    own = re.split(r"^(?:Fatal Python error: |Timeout \(\d+:)", text, maxsplit=1, flags=re.MULTILINE)[0]
    own = re.split(r"^  directory  .*$", own, flags=re.MULTILINE)[-1]
    lines = own.strip().splitlines() or [""]
    return lines[-1].strip()[:300]


def alone(job: FrozenJob, record: Record) -> str:
    """The command that runs this job outside the sweep, in a directory of its own, with as many threads as here."""
    words = repeating_overrides(job.overrides, text_schema())
    if record.threads and job.values.get("device", {}).get("threads") == "auto":
        words = [*words, f"device.threads={record.threads}"]
    return shlex.join(["dlrun", *job.flags, *words])


def retry_command_of(sweep: SweepDir) -> str:
    """The `dlrun sweep retry` command for a sweep, to be given in the working folder."""
    flags: dict[tuple[str, str], None] = {}
    for job in sweep.jobs.values():
        named = [word for name in literal_plugins(job.fixed) for word in ("--plugin", name)]
        words = [*job.flags, *named]
        for flag, value in zip(words[::2], words[1::2], strict=True):
            flags[flag, relative_to_here(value, job.folder)] = None
    return shlex.join(["dlrun", "sweep", "retry", str(sweep.path), *(word for pair in flags for word in pair)])


def command_to_continue(sweep: SweepDir) -> str:
    """The command that continues a sweep. A search needs its own command: `sweep retry` begins no new trials."""
    own = [each["command"] for each in sweep.commands if not each["command"].startswith("dlrun sweep retry")]
    return str(own[-1]) if sweep.settings["search"] != "grid" and own else retry_command_of(sweep)


def relative_to_here(name: str, folder: str) -> str:
    """A path relative to `folder`, rewritten relative to the working folder; the name itself if it is no path."""
    path = os.path.join(folder, name)
    return os.path.relpath(path) if not os.path.isabs(name) and os.path.exists(path) else name


def counts(records: Iterable[Record]) -> dict[str, int]:
    """How many records are in each state, in the order of `STATES`; states without any are left out."""
    counted = Counter(record.state for record in records)
    return {state: counted[state] for state in STATES if counted[state]}


def write_status(sweep: SweepDir, records: Mapping[str, Record]) -> None:
    """Write status.csv: one row for each job of the folder."""
    StatusTable(sweep).write(records)


class StatusTable:
    """status.csv, which is written again and again: only the rows of records that have changed are made anew."""

    def __init__(self, sweep: SweepDir) -> None:
        self.sweep = sweep
        self.columns: list[str] = []
        self.rows: dict[str, tuple[Record, str]] = {}  # by slug: what a row shows, and its text

    def write(self, records: Mapping[str, Record]) -> None:
        """Write a row for each job of the folder."""
        jobs = self.sweep.jobs
        keys = dict.fromkeys(key for job in jobs.values() for key in job.swept)
        columns = ["job", *keys, "state", "kind", "error", "last_line", "attempts", "seconds", "memory_mib", "command"]
        if columns != self.columns:
            self.columns, self.rows = columns, {}
        for slug, job in jobs.items():
            known = self.rows.get(slug)
            if known is None or known[0] is not records[slug]:
                self.rows[slug] = records[slug], self.row(_line(job, records[slug]))
        head = self.row({name: name for name in columns})
        write_atomic(self.sweep.status, "".join([head, *(self.rows[slug][1] for slug in jobs)]).encode())

    def row(self, values: Mapping[str, object]) -> str:
        """One line of CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([values.get(name, "") for name in self.columns])
        return text.getvalue()


def _line(job: FrozenJob, record: Record) -> dict[str, Any]:
    swept: dict[str, Any] = {key: format_value(value) for key, value in job.swept.items()}
    why = {"kind": record.failure.kind, "error": " ".join(record.failure.message.split())} if record.failure else {}
    facts = {"job": job.slug, "state": record.state, "last_line": record.last_line}
    numbers = {
        "attempts": record.attempts,
        "seconds": round(record.seconds, 2) or None,
        "memory_mib": round(record.memory_mib) or None,
    }
    return swept | facts | why | numbers | {"command": alone(job, record)}

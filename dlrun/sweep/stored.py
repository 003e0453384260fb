"""Reading sweep.yaml: each value is checked, since the file may be damaged or edited by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from dlrun.config.schema import entries, yamls
from dlrun.config.schema.contract import Mismatch
from dlrun.config.schema.schema import GROUPS, Schema
from dlrun.errors import RunError
from dlrun.plain import Values
from dlrun.store.contents import Check, is_count, is_text

SWEEP_FORMAT = 1
SLUG = "[A-Za-z0-9][A-Za-z0-9._-]*"  # a slug is the name of a folder, and must lead to no other


def is_section(value: object) -> bool:
    """Whether it is a mapping whose keys are texts."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_flags(value: object) -> bool:
    return isinstance(value, list) and is_texts(value) and len(value) % 2 == 0


def is_command(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("command"), str)


def is_spaces(value: object) -> bool:
    """Whether it maps keys to lists of values or to ranges, which are text; or a list of such."""
    if isinstance(value, list):
        return all(isinstance(each, dict) and is_spaces(each) for each in value)
    return (
        isinstance(value, dict) and is_section(value) and all(isinstance(each, list | str) for each in value.values())
    )


def is_absolute(value: object) -> bool:
    """Whether it is an absolute path, or "" for a job of unknown origin: jobs run in this folder."""
    return isinstance(value, str) and (value == "" or os.path.isabs(value)) and "\0" not in value


FILE: dict[str, tuple[Check, str]] = {
    "name": (is_section, "a section"),
    "commands": (lambda value: isinstance(value, list) and all(map(is_command, value)), "a list of commands"),
    "settings": (is_section, "a section"),
    "search": (is_section, "a section"),
    "base": (is_section, "a section"),
    "jobs": (is_section, "a section"),
}
SEARCH: dict[str, tuple[Check, str]] = {"search": (is_text, "a word"), "space": (is_spaces, "keys with values to try")}
JOB: dict[str, tuple[Check, str]] = {
    "fixed": (is_texts, "a list of words"),
    "swept": (is_section, "a section"),
    "overrides": (is_texts, "a list of words"),
    "frozen": (is_section, "a section"),
    "identity": (is_text, "a text"),
    "data": (is_text, "a text"),
    "trial": (is_count, "a whole number"),
    "invalid": (is_text, "a text"),
    "flags": (is_flags, "a list of flags, each with its value"),
    "stage": (lambda value: value in ("", "tune", "final"), "tune or final"),
    "folder": (is_absolute, "an absolute path"),
}


def read_stored(path: Path, schema: Schema) -> Values:
    """The checked values of a sweep.yaml. Raises `RunError` that names the first invalid key."""
    values = entries.load_entries(yamls.read_user_file(path), str(path))
    if not isinstance(values, dict) or values.get("format") != SWEEP_FORMAT:
        raise RunError(f"{path} is not a sweep that this dlrun can read. Give another sweep.dir.")
    found = fitting(path, "", values, FILE)
    found["search"] = fitting(path, "search.", found.get("search", {}), SEARCH)
    if found["search"] and found["search"].keys() != SEARCH.keys():
        raise damaged(path, "search", "needs a `search` and a `space`")
    found["settings"] = settings_of(path, found.get("settings", {}), schema)
    base = found.setdefault("base", {})
    good = {name for name in GROUPS if is_section(base.get(name))}
    found["jobs"] = {slug: job_of(path, slug, entry, base, good) for slug, entry in found.get("jobs", {}).items()}
    return found


def fitting(path: Path, prefix: str, values: Values, fields: Mapping[str, tuple[Check, str]]) -> Values:
    """The values under these keys, checked; null and other keys are left out."""
    given = {key: values[key] for key in fields if values.get(key) is not None}
    for key, value in given.items():
        check, words = fields[key]
        if not check(value):
            raise damaged(path, f"{prefix}{key}", f"must be {words}")
    return given


def settings_of(path: Path, values: Values, schema: Schema) -> Values:
    """The `sweep` section of the last command, with defaults for keys that an older dlrun did not store."""
    settings: Values = {}
    for dotted, key in schema.primary.items():
        name = dotted.removeprefix("sweep.")
        if name == dotted:
            continue
        value = values[name] if name in values else yamls.loads(key.default, key.source)
        try:
            settings[name] = key.contract.accept(value) if key.contract else value
        except Mismatch as mismatch:
            raise damaged(path, f"settings.{name}", f"{mismatch}, not {value!r}") from None
    return settings


def job_of(path: Path, slug: str, entry: object, base: Values, good: set[str]) -> Values:
    """One job, checked. Its frozen configuration has the sections and keys that a sweep reads.

    `good` are the names of the sections of `base` that were checked.
    """
    if not re.fullmatch(SLUG, slug):
        raise RunError(f"{path} names a job {slug!r}, which is no name of a folder in {path.parent}/jobs.")
    if not isinstance(entry, dict):
        raise damaged(path, f"jobs.{slug}", "must be a section")
    job = fitting(path, f"jobs.{slug}.", entry, JOB)
    if not job.get("invalid"):
        own = job.get("frozen", {})
        frozen = {**base, **own}
        for name in GROUPS:
            if name != "experiment" and (name in own or name not in good) and not is_section(frozen.get(name)):
                raise damaged(path, f"jobs.{slug}.frozen.{name}", "must be a section")
        if not is_count(frozen.get("seed")):
            raise damaged(path, f"jobs.{slug}.frozen.seed", "must be a whole number")
        if not is_count(frozen["trainer"].get("epochs")) or not is_text(frozen["device"].get("name")):
            raise damaged(path, f"jobs.{slug}.frozen", "needs trainer.epochs and device.name")
    return job


def damaged(path: Path, key: str, what: str) -> RunError:
    return RunError(f"{path}: {key} {what}. Mend it, or give another sweep.dir.")

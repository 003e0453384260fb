"""The folder of a sweep: named by its overrides, or the folder that dlrun 0.1 gave the same sweep."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.config.expand import Expansion
from dlrun.config.schema import yamls
from dlrun.config.schema.schema import Schema
from dlrun.errors import ConfigError, Problem
from dlrun.store.find import OUTPUTS, user_path
from dlrun.store.reading import try_read_text
from dlrun.sweep.names import name_today, result_words, sweep_name

SWEEPS = OUTPUTS / "sweeps"


def folder_of(expansion: Expansion, settings: Mapping[str, Any]) -> Path:
    """`sweep.dir`, or a folder named by `sweep.name` or by what is swept. Raises `ConfigError` for an invalid name."""
    if settings["dir"]:
        return user_path(settings["dir"])
    if settings["name"]:
        return default_path(settings["name"])
    words = result_words(expansion.overrides, expansion.schema)
    name = sweep_name(words, expansion.swept, "tuned" if settings["budget"] else settings["search"])
    if not (SWEEPS / name / "sweep.yaml").is_file():
        for file in sorted(SWEEPS.glob("*/sweep.yaml")):
            if name_of(file, words, expansion.schema) == name:
                return file.parent
    return SWEEPS / name


def default_path(name: str) -> Path:
    """The folder of a sweep with that name. Raises `ConfigError` for a name that leads out of `SWEEPS`."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        text = f"{name!r} is no name of a folder under {SWEEPS}."
        raise ConfigError(Problem("sweep.name", text, f"Any folder: sweep.dir={name}"))
    return SWEEPS / name


def name_of(file: Path, words: Sequence[str], schema: Schema) -> str:
    """Today's name of a sweep whose folder was named by dlrun 0.1; empty for sweeps with other overrides."""
    with suppress(ConfigError, OSError):  # a damaged sweep is reported when it is opened
        head = first_job(try_read_text(file) or "")
        if all(word.partition("=")[2] in head for word in words):  # most sweeps need not be parsed
            values = yamls.loads(head, str(file))
            return name_today(values, file.parent.name, schema) if isinstance(values, dict) else ""
    return ""


def first_job(text: str) -> str:
    """The text of a sweep.yaml up to its first job, which is all that its name depends on."""
    jobs = re.search(r"^jobs:\n", text, re.MULTILINE)
    entries = [match.start() for match in re.finditer(r"^  \S", text[jobs.end() :], re.MULTILINE)] if jobs else []
    return text[: jobs.end() + entries[1]] if jobs and len(entries) > 1 else text

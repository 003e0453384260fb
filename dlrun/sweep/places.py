"""Where a sweep lives: the folder that its words name today, or the one that the same sweep was given before."""

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
from dlrun.store.find import OUTPUTS
from dlrun.store.reading import read_text
from dlrun.sweep.names import name_today, sweep_name, words_that_count

SWEEPS = OUTPUTS / "sweeps"


def folder_of(expansion: Expansion, settings: Mapping[str, Any]) -> Path:
    """`sweep.dir`, or a folder by `sweep.name` or by what is swept. Raises `ConfigError` for an impossible name."""
    if settings["dir"]:
        return Path(settings["dir"]).expanduser()
    if settings["name"]:
        return default_path(settings["name"])
    words = words_that_count(expansion.overrides, expansion.schema)
    name = sweep_name(words, expansion.swept, settings["search"])
    if not (SWEEPS / name / "sweep.yaml").is_file():
        for file in sorted(SWEEPS.glob("*/sweep.yaml")):
            if name_of(file, words, expansion.schema) == name:
                return file.parent
    return SWEEPS / name


def default_path(name: str) -> Path:
    """Where a sweep of that name lives. Raises `ConfigError` for a name that leads elsewhere."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        text = f"{name!r} is no name of a folder under {SWEEPS}."
        raise ConfigError(Problem("sweep.name", text, f"Any folder: sweep.dir={name}"))
    return SWEEPS / name


def name_of(file: Path, words: Sequence[str], schema: Schema) -> str:
    """Today's name of the sweep in a folder that an older dlrun named; empty for other sweeps and other words."""
    with suppress(ConfigError, OSError):  # a damaged one is told of when it is asked for
        head = first_job(read_text(file) or "")
        if all(word.partition("=")[2] in head for word in words):  # most sweeps need not be parsed
            values = yamls.loads(head, str(file))
            return name_today(values, file.parent.name, schema) if isinstance(values, dict) else ""
    return ""


def first_job(text: str) -> str:
    """A sweep.yaml without all its jobs but the first."""
    jobs = re.search(r"^jobs:\n", text, re.MULTILINE)
    entries = [match.start() for match in re.finditer(r"^  \S", text[jobs.end() :], re.MULTILINE)] if jobs else []
    return text[: jobs.end() + entries[1]] if jobs and len(entries) > 1 else text

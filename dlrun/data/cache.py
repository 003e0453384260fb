"""Encoded tables that are kept (`dataset.cache=true`): where they are, how large, and how they go. No torch here."""

from __future__ import annotations

import shutil
from pathlib import Path

from dlrun.data.paths import data_root
from dlrun.errors import ConfigError, Problem, RunError, cannot_write, count_of, did_you_mean
from dlrun.plain import say

READY = "data.json"  # written last: an entry without it is not whole


def cache_folder() -> Path:
    """Where encoded tables are kept, in the data root."""
    return data_root() / "tables"


def entries() -> list[tuple[Path, int]]:
    """Every entry with its size in bytes."""
    folder = cache_folder()
    found = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [(path, sum(file.stat().st_size for file in path.iterdir())) for path in found]


def clear_cache() -> int:
    """Remove all entries; returns how many there were. Raises `OSError`."""
    found = entries()
    for path, _ in found:
        shutil.rmtree(path)
    return len(found)


def cache_command(words: list[str]) -> int:
    """`dlrun cache [clear]`: say what is kept, or remove it. Returns the exit code."""
    if words and words != ["clear"]:
        hint = did_you_mean(words[0], ["clear"]) or "Usage: dlrun cache [clear]"
        raise ConfigError(Problem(f"cache {words[0]}", "there is no such command.", hint))
    size = sum(size for _, size in entries()) / 2**20
    try:
        count = clear_cache() if words else len(entries())
    except OSError as error:
        raise RunError(cannot_write(cache_folder(), error)) from error
    say(f"{count_of(count, 'encoded table')}{' removed' if words else ''}, {size:,.0f} MiB, in {cache_folder()}")
    return 0

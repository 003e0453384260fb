"""Where data lives on this machine. No torch here: light commands ask, too."""

from __future__ import annotations

import os
from pathlib import Path

ROOT_VARIABLE = "DLRUN_DATA"


def data_root(root: str | Path | None = None) -> Path:
    """The data root: what was given, else `$DLRUN_DATA`, else the user's cache folder (it need not exist
    yet).
    """
    chosen = root or os.environ.get(ROOT_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))
    from platformdirs import user_cache_path

    return user_cache_path("dlrun") / "data"


def resolve(path: str | Path) -> Path:
    """A path that the user gave: `~` expanded, relative to the working directory."""
    return Path(os.path.expanduser(path)).absolute()

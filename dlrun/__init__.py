"""dlrun: a command-line deep-learning experiment runner driven by configuration files."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "compose", "load_run", "register", "train"]


def __dir__() -> list[str]:
    """The names, for completion in a notebook."""
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    """The library's few names, imported when they are used: `import dlrun` costs nothing."""
    if name == "register":
        from dlrun.components.registry import register

        return register
    if name in ("compose", "train", "load_run"):
        from dlrun import api

        return getattr(api, name)
    raise AttributeError(f"module 'dlrun' has no attribute {name!r}")

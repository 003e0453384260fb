"""Hydra's `version_base`, a global variable: it is set while Hydra is called, and restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import version


@contextmanager
def hydra_rules() -> Iterator[None]:
    """Context manager that applies the rules of Hydra 1.3, whatever the rest of the process has chosen."""
    base = version.VersionBase.instance()
    before = base.version_base
    base.version_base = version.Version("1.3")
    try:
        yield
    finally:
        base.version_base = before

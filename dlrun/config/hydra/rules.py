"""Hydra's one global switch that matters here, its `version_base`: set while we call it, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import version


@contextmanager
def hydra_rules() -> Iterator[None]:
    """Today's rules of Hydra, whatever another program in this process (a notebook, say) has set."""
    base = version.VersionBase.instance()
    before = base.version_base
    base.version_base = version.Version("1.3")
    try:
        yield
    finally:
        base.version_base = before

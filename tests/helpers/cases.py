"""Cases of a test, of which the normal run takes those that differ in kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def slow_where(slow: Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """The cases, marked `slow` where the function says so: those that go through the same code as others."""
    rows = [(case if isinstance(case, tuple) else (case,), slow(case)) for case in cases]
    return [pytest.param(*row, marks=[pytest.mark.slow] if is_slow else []) for row, is_slow in rows]

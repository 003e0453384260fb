"""Where this package lies: the one place that knows its own depth in the tree."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

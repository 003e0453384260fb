"""Code that is run by a Python process of its own, to see what it imports or how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.deadline import deadline

ROOT = Path(__file__).parents[2]


def run_python(code: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the code in `folder`, with what it prints captured."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=deadline(120), check=False)

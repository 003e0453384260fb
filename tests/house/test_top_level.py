"""The top level holds what the README's map names, and nothing that a run or a test left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"conf", "dlrun", "tests", "docs", "outputs", ".ci"}
FILES = {"pyproject.toml", "uv.lock", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"}


def test_nothing_else_is_tracked() -> None:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("this is no git checkout")
    tops = {line.partition("/")[0] for line in found.stdout.splitlines()}
    assert tops - FOLDERS - FILES == set()
    assert [line for line in found.stdout.splitlines() if line.startswith("outputs/")] == ["outputs/.gitignore"]

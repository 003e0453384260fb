"""What is in a folder, to be compared before and after a command."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path | str) -> dict[str, bytes]:
    """What each file holds, by its path in the folder; without the lock, which every command may take."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}

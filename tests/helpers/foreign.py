"""A folder of files that no process of dlrun's may import: each has the name of a module that Python or torch wants."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

OPTIONAL = ("cupy", "IPython", "numpy", "sitecustomize", "torch", "triton", "usercustomize", "yaml")


def fill(folder: Path, without: Iterable[str] = ()) -> None:
    """Write one file for every module of Python's own, and for some that others import if they are there."""
    for name in sorted({*sys.stdlib_module_names, *OPTIONAL}.difference(without)):
        code = f"import os\nwith open({str(folder / 'imported')!r}, 'a') as file:\n    file.write('{name} ')\n"
        (folder / f"{name}.py").write_text(code + "os._exit(1)\n")


def imported(folder: Path) -> str:
    """The names of those that some process imported."""
    path = folder / "imported"
    return path.read_text() if path.exists() else ""

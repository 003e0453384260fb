"""Imports go one way: a room imports only rooms above it in the table of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dlrun"

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "spec": set(),
    "rundir": {
        "errors"
    },  # run/rundir.py, run/files.py: what a run directory is, for its writers and its readers
    "config": {"errors", "spec"},
    "models": {"errors", "spec"},
    "objectives": {"errors", "spec"},
    "data": {"errors", "spec"},
    "engine": {"errors", "spec", "objectives"},
    "run": {"errors", "spec", "rundir", "config", "models", "objectives", "data", "engine", "report"},
    "report": {"errors", "spec", "rundir"},
    "sweep": {"errors", "spec", "rundir", "config", "data", "run", "report"},
    "after": {
        "errors",
        "spec",
        "rundir",
        "config",
        "models",
        "data",
        "objectives",
        "engine",
        "run",
        "report",
    },
    "api": {"errors", "spec", "rundir", "config", "run"},
}


def room_of(path: Path) -> str:
    return room(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def room(module: str) -> str:
    """The room of a module, named without `dlrun.`"""
    return "rundir" if module in ("run.rundir", "run.files") else module.split(".")[0]


def imported_rooms(path: Path) -> set[str]:
    """The rooms of dlrun that a file imports anywhere, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dlrun":
            parts = node.module.split(".")
            rooms |= {room(".".join(parts[1:]))} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {room(a.name.removeprefix("dlrun.")) for a in node.names if a.name.startswith("dlrun.")}
    return rooms


FILES = [
    p
    for p in sorted(PACKAGE.rglob("*.py"))
    if room_of(p) not in ("__init__", "__main__", "cli", "commands", "conf")
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = room_of(path)
    assert own in ALLOWED, f"{own} is no room of docs/architecture.md"
    wrong = imported_rooms(path) - ALLOWED[own] - {own}
    assert not wrong, f"{path.name} in {own}/ may not import {sorted(wrong)}"


def test_the_rule_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("def f():\n    from dlrun.run.runner import train\n    import dlrun.sweep.jobs\n")
    assert imported_rooms(file) == {"run", "sweep"}

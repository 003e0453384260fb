"""Imports go one way: a room imports only the rooms that the table of docs/architecture.md allows it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dlrun"
BELOW = {"bounded", "errors", "generators", "moved", "package", "plain", "processes", "spec"}
CONFIG = {"config.schema", "components", "config"}
PARTS = {"models", "objectives", "data", "engine"}

ALLOWED: dict[str, set[str]] = {
    "bounded": set(),
    "errors": set(),
    "generators": {"spec"},
    "moved": set(),
    "package": set(),
    "plain": set(),
    "processes": {"package"},
    "spec": set(),
    "config.schema": BELOW,
    "components": BELOW | {"config.schema"},
    "config": BELOW | CONFIG,
    "models": BELOW,
    "torch_errors": set(),
    "torch_private": set(),
    "objectives": BELOW | {"torch_private"},
    "data": BELOW | {"torch_errors"},
    "engine": BELOW | {"objectives", "torch_private"},
    "store": BELOW | {"config.schema", "torch_errors"},
    "loggers": BELOW | {"store"},
    "assembly": BELOW | CONFIG | PARTS | {"torch_errors"},
    "workers": BELOW,
    "report": BELOW | {"config.schema", "store"},
    "inference": BELOW | CONFIG | PARTS | {"store", "report", "assembly"},
    "run": BELOW | CONFIG | PARTS | {"store", "report", "assembly", "inference", "loggers"},
    "checks": BELOW | CONFIG | PARTS | {"store", "report", "workers", "assembly", "run"},
    "sweep": BELOW | CONFIG | {"store", "report", "workers", "run", "data"},
    "api": BELOW | CONFIG | {"store", "run", "report", "inference"},
}
EXCEPTIONS = {  # arrows that still point up; each goes with the step that turns it
    ("config.schema", "components")
}
ROOMS = sorted(ALLOWED, key=len, reverse=True)


def room(module: str) -> str:
    """The room of a module, named without `dlrun.`: the longest name in the table that it begins with."""
    return next((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), module.split(".")[0])


def room_of(path: Path) -> str:
    return room(".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))


def imported_rooms(path: Path) -> set[str]:
    """The rooms of dlrun that a file imports anywhere, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dlrun":
            module = node.module.removeprefix("dlrun").lstrip(".")
            rooms |= {room(f"{module}.{alias.name}".lstrip(".")) for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {room(a.name.removeprefix("dlrun.")) for a in node.names if a.name.startswith("dlrun.")}
    return rooms


FILES = [
    p
    for p in sorted(PACKAGE.rglob("*.py"))
    if room_of(p) not in ("__init__", "__main__", "cli", "commands", "manual", "conf")
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = room_of(path)
    assert own in ALLOWED, f"{own} is no room of docs/architecture.md"
    known = {there for here, there in EXCEPTIONS if here == own}
    wrong = imported_rooms(path) - ALLOWED[own] - {own} - known
    assert not wrong, f"{path.name} in {own}/ may not import {sorted(wrong)}"


def test_the_rule_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "def f():\n    from dlrun.run.runner import train\n    import dlrun.sweep.jobs\n"
        "    from dlrun.config import expand\n"
    )
    assert imported_rooms(file) == {"run", "sweep", "config"}

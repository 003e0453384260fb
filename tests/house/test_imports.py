"""Imports go one way: a room imports only the rooms that the table of docs/architecture.md allows it."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pytest

from tests.house.measure import Module, whole_package

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
    "leaving": BELOW | CONFIG | PARTS | {"store", "assembly", "inference", "run"},
    "checks": BELOW | CONFIG | PARTS | {"store", "report", "workers", "assembly", "run"},
    "sweep": BELOW | CONFIG | {"store", "report", "workers", "run", "data"},
    "api": BELOW | CONFIG | {"store", "run", "report", "inference"},
}
EXCEPTIONS = {  # arrows that still point up; each goes with the step that turns it
    ("config.schema", "components")
}
TOP = {"__init__", "__main__", "cli", "command_line", "commands", "manual", "conf"}
ROOMS = sorted(ALLOWED, key=len, reverse=True)


def room(module: str) -> str:
    """The room of a module, named without `dlrun.`: the longest name in the table that it begins with."""
    return next((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), module.split(".")[0])


def imported_rooms(nodes: Iterable[ast.AST]) -> set[str]:
    """The rooms of dlrun that a file imports anywhere, inside functions too."""
    rooms = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dlrun":
            module = node.module.removeprefix("dlrun").lstrip(".")
            rooms |= {room(f"{module}.{alias.name}".lstrip(".")) for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {room(a.name.removeprefix("dlrun.")) for a in node.names if a.name.startswith("dlrun.")}
    return rooms


def files() -> dict[str, list[Module]]:
    """The files of each room. Those on top, which import everything, are none."""
    found: dict[str, list[Module]] = {}
    for name, module in whole_package().modules.items():
        found.setdefault(room(name.removeprefix("dlrun").lstrip(".") or "__init__"), []).append(module)
    return {name: modules for name, modules in found.items() if name not in TOP}


def test_every_file_is_in_a_room() -> None:
    assert files().keys() == ALLOWED.keys(), "these are not the rooms of docs/architecture.md"


@pytest.mark.parametrize("own", ALLOWED)
def test_imports_go_one_way(own: str) -> None:
    known = {there for here, there in EXCEPTIONS if here == own}
    imported = {module.name: imported_rooms(module.nodes) for module in files()[own]}
    wrong = {name: sorted(found - ALLOWED[own] - {own} - known) for name, found in imported.items()}
    assert not any(wrong.values()), {name: f"may not import {rooms}" for name, rooms in wrong.items() if rooms}


def test_the_rule_sees_imports_inside_functions() -> None:
    tree = ast.parse(
        "def f():\n    from dlrun.run.runner import train\n    import dlrun.sweep.jobs\n"
        "    from dlrun.config import expand\n"
    )
    assert imported_rooms(ast.walk(tree)) == {"run", "sweep", "config"}

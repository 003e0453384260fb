"""The layers of the models are plain modules of torch: neither they nor what they call knows a specification or errors.

So they can be copied out of the package and traced for export; the functions that build them do the rest.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.measure import ROOT

FOLDER = ROOT / "dlrun" / "models"
PACKAGE = "dlrun.models"
Definition = ast.ClassDef | ast.FunctionDef


class File:
    """What a file of models/ defines and imports."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.defined = {node.name: node for node in tree.body if isinstance(node, Definition)}
        self.imported = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }


FILES = {f"{PACKAGE}.{path.stem}": File(path) for path in sorted(FOLDER.glob("*.py"))}


def bases(module: str, node: Definition) -> set[str]:
    """The names of all base classes, through the classes of models/."""
    found = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
    for name in list(found):
        for where, inner in targets(module, name):
            found |= bases(where, inner)
    return found


def targets(module: str, name: str) -> list[tuple[str, Definition]]:
    """The definition in models/ that a name stands for, if it is one."""
    where, original = FILES[module].imported.get(name, (module, name))
    return [(where, FILES[where].defined[original])] if where in FILES and original in FILES[where].defined else []


def foreign(module: str, node: Definition, seen: set[str]) -> set[str]:
    """What a definition uses of the package outside of models/, itself or by what it calls."""
    found: set[str] = set()
    names = [x for x in ast.walk(node) if isinstance(x, ast.Name)]
    own = {x.id for x in names if isinstance(x.ctx, ast.Store)} | {
        x.arg for x in ast.walk(node) if isinstance(x, ast.arg)
    }
    for name in {x.id for x in names} - own:
        where, original = FILES[module].imported.get(name, (module, name))
        if where.startswith("dlrun.") and where not in FILES:
            found.add(f"{where}.{original}")
        for inner_module, inner in targets(module, name):
            if f"{inner_module}.{inner.name}" not in seen:
                found |= foreign(inner_module, inner, seen | {f"{inner_module}.{inner.name}"})
    return found


MODULES = {
    f"{module}.{name}": (module, node)
    for module, file in FILES.items()
    for name, node in file.defined.items()
    if any(base.startswith("nn.") for base in bases(module, node))
}


def test_the_modules_are_found() -> None:
    assert len(MODULES) > 15
    assert foreign(f"{PACKAGE}.mlp", FILES[f"{PACKAGE}.mlp"].defined["mlp"], set()) >= {"dlrun.errors.ConfigError"}


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_knows_torch_alone(name: str) -> None:
    assert not foreign(*MODULES[name], {name})

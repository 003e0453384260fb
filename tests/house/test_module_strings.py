"""Every string that names a module of ours names one that is there.

Modules are named in strings to import them late, to load them before a fork, to recognize a class by where it is
from; a name that nothing has any more is often no error there, only a fast path or a preload that is gone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.house.measure import PACKAGE, ROOT, Module, whole_package

NAME = re.compile(rf"(?<![\w./-]){PACKAGE}((?:\.[A-Za-z_]\w*)+)(?::([A-Za-z_]\w*))?")
NO_MODULES = {f"{PACKAGE}.yaml", f"{PACKAGE}.plugins"}  # a settings file; the group of entry points
TEXTS = [ROOT / "README.md", ROOT / "pyproject.toml", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS += sorted((ROOT / "conf").rglob("*.yaml"))


def names(text: str) -> list[str]:
    """The modules, or `module:attribute`, that a text names."""
    found = (match.group() for match in NAME.finditer(text))
    return [name for name in found if name not in NO_MODULES]


def strings(module: Module) -> Iterator[tuple[int, str]]:
    """The string literals of a file (docstrings and the fixed parts of f-strings too), and its comments."""
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for number, line in enumerate(module.text.splitlines(), 1):
        if "#" in line:
            yield number, line.partition("#")[2]


def named() -> dict[str, str]:
    """Every name of a module in a string, and the first place where it stands."""
    places: dict[str, str] = {}
    for module in whole_package().modules.values():
        for number, text in strings(module):
            for name in names(text):
                places.setdefault(name, f"{module.name}:{number}")
    for path in TEXTS:
        for name in names(path.read_text(encoding="utf-8")):
            places.setdefault(name, str(path.relative_to(ROOT)))
    return places


def resolve(name: str) -> None:
    """Raises `ImportError` or `AttributeError` where the name stands for nothing."""
    module, colon, attribute = name.partition(":")
    attributes = [attribute] if colon else []
    while not is_module(module):
        if colon:
            raise ImportError(f"there is no module {module}")
        module, _, last = module.rpartition(".")
        attributes.insert(0, last)
    found: object = import_module(module) if attributes else None
    for attribute in attributes:
        found = getattr(found, attribute)


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what should be the package above it is none
        return False


NAMED = named()


def test_the_strings_are_found() -> None:
    assert len(NAMED) > 30
    assert any(":" in name for name in NAMED)


@pytest.mark.filterwarnings("ignore:.* is now:DeprecationWarning")
@pytest.mark.parametrize("name", NAMED)
def test_a_string_that_names_a_module_resolves(name: str) -> None:
    try:
        resolve(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{NAMED[name]} names {name}: {error}")


@pytest.mark.parametrize("name", ["dlrun.no_such", "dlrun.errors.NoSuch", "dlrun.errors:NoSuch", "dlrun.no.such:x"])
def test_what_is_not_there_is_seen(name: str) -> None:
    assert names(f"as `{name}` says.") == [name]
    with pytest.raises((ImportError, AttributeError)):
        resolve(name)

"""Private names of other packages stand in one module each: torch's in `torch_private.py`, Hydra's in config/hydra."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.house.measure import ROOT, House, whole_package

HOMES = ("torch_private", "config.hydra", "config.overrides.values")
PUBLIC = {"_replace", "_asdict", "_fields", "_exit"}  # of named tuples and of os, where they are no secret
EXCEPTIONS = {
    "sweep.samplers.optuna: found._trial_id",
    "processes: atexit._run_exitfuncs",  # what Python itself calls when a process ends
    "processes: threading._shutdown",
}
STRING = re.compile(r"torch(\.\w+)*\._\w+|_(global_)?(fused|forward|backward|optimizer|post_accumulate|execution)\w*")


def private(nodes: Iterable[ast.AST], ours: set[str]) -> Iterator[str]:
    """The private names of others in a module: attributes, imports, and strings that can only be such."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in ours | PUBLIC:
            yield ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{getattr(node, 'module', None) or ''}."
            names = [f"{module}{alias.name}".lstrip(".") for alias in node.names]
            yield from (x for x in names if any(map(is_private, x.split("."))) and not x.startswith("dlrun."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and STRING.fullmatch(node.value):
            yield repr(node.value)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(house: House) -> set[str]:
    """What the package itself defines: functions, classes, and what it assigns to."""
    names: set[str] = set()
    for module in house.modules.values():
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {node.attr} if ast.unparse(node.value) == "self" else set()
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return {name for name in names if is_private(name)}


def test_private_names_of_others_stand_at_home() -> None:
    house = whole_package()
    ours = own_names(house)
    found = {
        f"{name.removeprefix('dlrun.')}: {what}"
        for name, module in house.modules.items()
        if not name.removeprefix("dlrun.").startswith(HOMES)
        for what in private(module.nodes, ours)
    }
    assert found == EXCEPTIONS & found, sorted(found - EXCEPTIONS)


@pytest.mark.parametrize(
    "line",
    [
        "torch._fused_sgd_(x)",
        "tensor._version",
        "module._buffers",
        "optimizer._opt_called = True",
        "import torch._dynamo",
        "from torch._inductor import compile_fx",
        "from torch.utils import _pytree",
        "getattr(torch, '_fused_adam_', None)",
        "getattr(module, '_forward_hooks')",
        "import_module('torch._dynamo')",
    ],
)
def test_a_private_name_is_seen(line: str) -> None:
    assert list(private(ast.walk(ast.parse(line)), {"_size"}))


@pytest.mark.parametrize("line", ["self._size", "row._replace(a=1)", "x.__class__", "'_loss'", "import torch.fx"])
def test_other_names_are_not(line: str) -> None:
    assert not list(private(ast.walk(ast.parse(line)), {"_size"}))


def test_the_homes_are_there() -> None:
    names = {
        ".".join(path.relative_to(ROOT / "dlrun").with_suffix("").parts) for path in (ROOT / "dlrun").rglob("*.py")
    }
    assert all(any(name.startswith(home) for name in names) for home in HOMES)

"""Source text for a plain file: classes and functions of `dlrun.models` as they stand, and the imports of a text."""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

IMPORTS = {  # what a written file may use, and where it is from; None: the module itself
    "collections": ("OrderedDict",),
    "collections.abc": ("Sequence",),
    "copy": None,
    "csv": None,
    "gzip": None,
    "hashlib": ("sha256",),
    "math": None,
    "numpy as np": None,
    "pathlib": ("Path",),
    "PIL": ("Image", "ImageOps"),
    "sklearn.datasets": ("load_breast_cancer", "load_diabetes", "load_digits", "load_iris", "load_wine"),
    "torch": ("Tensor", "nn"),
    "torch.nn.functional": ("one_hot",),
    "torch.nn.functional as F": None,
    "torch.nn.utils.rnn": ("pack_padded_sequence", "pad_packed_sequence", "pad_sequence"),
    "torch.optim": ("lr_scheduler",),
    "torchvision.datasets": ("MNIST", "FashionMNIST"),
    "unicodedata": None,
}
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # what is installed, where it is called otherwise
MARK = "dlrun_"  # attributes of models that only dlrun's engine reads


def sources(things: Iterable[Callable[..., Any]]) -> list[str]:
    """The source of classes and functions with all of dlrun's own that they use, those that are used first."""
    found: dict[str, str] = {}
    for thing in things:
        _add(thing, found)
    return list(found.values())


def _add(thing: Callable[..., Any], found: dict[str, str]) -> None:
    if thing.__name__ in found:
        return
    text = without_marked(inspect.getsource(thing))
    known = vars(sys.modules[thing.__module__])
    for name in sorted(global_names(text) & known.keys()):
        other = known[name]
        if callable(other):
            if other is not thing and getattr(other, "__module__", "").startswith("dlrun."):
                _add(other, found)
        elif constant := assignment(sys.modules[thing.__module__], name):
            found[name] = constant
    found[thing.__name__] = text


def assignment(module: ModuleType, name: str) -> str:
    """The statement at the top of a module that gives a constant its value, with the comment above; "" for none."""
    text = inspect.getsource(module)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            rows, first = text.splitlines(), node.lineno - 1
            while rows[first - 1].startswith("#"):
                first -= 1
            return "\n".join(rows[first : node.end_lineno])
    return ""


def without_marked(text: str) -> str:
    """The source of a class without the attributes that only dlrun's engine reads."""
    text = textwrap.dedent(text)
    (tree,) = ast.parse(text).body
    rows = text.splitlines()
    for node in reversed(tree.body if isinstance(tree, ast.ClassDef) else []):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id.startswith(MARK):
            assert node.end_lineno is not None
            end = node.end_lineno + (rows[node.end_lineno].strip() == "")
            del rows[node.lineno - 1 : end]
    return "\n".join(rows)


def global_names(text: str) -> set[str]:
    """The names that a text reads from its module: no parameters, and nothing else that is local to a function."""
    return _read_globals(symtable.symtable(text, "text", "exec"))


def _read_globals(table: symtable.SymbolTable) -> set[str]:
    top = table.get_type() == "module"
    own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return own.union(*map(_read_globals, table.get_children()))


def imports(text: str) -> str:
    """The import lines that a text needs, the standard library's first, in the order of isort."""
    used = global_names(text) - vars(builtins).keys()
    plain, some = [], []
    for place, names in IMPORTS.items():
        if names is None and place.rpartition(" ")[2] in used:
            plain.append(f"import {place}")
        elif names and (chosen := sorted(set(names) & used, key=by_case)):
            some.append(f"from {place} import {', '.join(chosen)}")
    if "torch" in used:  # besides `from torch import ...`
        plain.append("import torch")
    blocks = [sorted((line for line in kind if is_standard(line) == first), key=lambda line: line.split()[1].lower())
              for first in (True, False) for kind in (plain, some)]  # fmt: skip
    return "\n\n".join("\n".join([*a, *b]) for a, b in (blocks[:2], blocks[2:]) if a or b)


def by_case(name: str) -> tuple[int, str]:
    """isort's order: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def is_standard(line: str) -> bool:
    """Whether an import line is of the standard library."""
    return line.split()[1].split(".")[0] in sys.stdlib_module_names


def needed_packages(lines: str) -> list[str]:
    """The packages that import lines need, as pip calls them."""
    found = {line.split()[1].split(".")[0] for line in lines.splitlines() if line and not is_standard(line)}
    return sorted(
        {PACKAGES.get(name, name) for name in found} | {"numpy", "torch"}, key=lambda name: (name != "torch", name)
    )

"""The structure of the package in figures. Each of them may only fall.

    python -m tests.house.measure            the figures, and where each of them comes from
    python -m tests.house.measure --write    store those that fell in ratchets.json

A figure that has to rise for a good reason is raised by hand in ratchets.json, and the commit says why.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGE = "dlrun"
STORED = Path(__file__).with_name("ratchets.json")
LONG_FILE, LONG_FUNCTION = 300, 40
# Packages that take a tenth of a second or more to import, and those that they import themselves. The rest of
# torch is there once `torch` is; its compiler is not.
HEAVY: dict[str, tuple[str, ...]] = {
    "torch": (),
    "torch._dynamo": ("torch",),
    "torch._functorch": ("torch", "torch._dynamo"),
    "torch._inductor": ("torch", "torch._dynamo"),
    "torchvision": ("torch",),
    "hydra": ("omegaconf",),
    "omegaconf": (),
    "matplotlib": (),
    "pandas": (),
    "scipy": (),
    "sklearn": ("scipy",),
    "optuna": (),
    "ray": (),
    "submitit": (),
    "tensorboard": (),
    "rich": (),
}
# They call one function a command or name, and import it when it is called.
DOORS = {PACKAGE, f"{PACKAGE}.__main__", f"{PACKAGE}.cli", f"{PACKAGE}.commands", f"{PACKAGE}.api"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """The tree's nodes: walking through it takes longer than all that is done with them."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """All functions and methods, nested ones too."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def late(self) -> list[Import]:
        """The imports inside functions."""
        found = {id(x): x for f in self.functions for x in ast.walk(f) if isinstance(x, Import)}
        return list(found.values())

    @cached_property
    def at_once(self) -> list[Import]:
        """The imports that run when the module is imported."""
        return list(_at_module_level(self.tree))

    @cached_property
    def lines_of_code(self) -> int:
        """Lines without blank ones, comments and docstrings."""
        lines = enumerate(self.text.splitlines(), 1)
        code = {number for number, line in lines if line.strip() and not line.lstrip().startswith("#")}
        for node in self.nodes:  # in a text of several lines, such lines are code
            if isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno:
                code |= _lines(node)
        for node in self.nodes:
            if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
                code -= _lines(node.body[0])
        return len(code)

    @cached_property
    def public(self) -> list[str]:
        """The public functions and classes."""
        found = [node.name for node in self.tree.body if isinstance(node, Function | ast.ClassDef)]
        return [name for name in dict.fromkeys(found) if not name.startswith("_")]


def _lines(node: ast.stmt | ast.expr) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _at_module_level(node: ast.AST) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Import):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _at_module_level(other)
        elif not isinstance(child, Function | ast.Lambda):
            yield from _at_module_level(child)


class House:
    """The modules of a package, and what each of them imports."""

    def __init__(self, root: Path = ROOT, package: str = PACKAGE) -> None:
        self.package = package
        self.modules: dict[str, Module] = {}
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            self.modules[name] = Module(name, path.read_text(encoding="utf-8"))

    def ours(self, module: Module, node: Import) -> set[str]:
        """The modules of the package that an import statement names, without the module itself."""
        names = set()
        for name in _names(module.name, node):
            while name not in self.modules and "." in name:
                name = name.rpartition(".")[0]
            names |= {name} & self.modules.keys()
        return names - {module.name}

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Who imports whom, anywhere: an import inside a function or for a type hides a circle, it opens none."""
        return {
            name: {x for node in m.nodes if isinstance(node, Import) for x in self.ours(m, node)}
            for name, m in self.modules.items()
        }

    def circles(self) -> list[str]:
        """The groups of modules that import each other."""
        reached = {name: self._reached(name) for name in self.modules}
        groups = {
            tuple(sorted(x for x in reached[name] if name in reached[x]))
            for name in self.modules
            if name in reached[name]
        }
        return [" <-> ".join(group) for group in sorted(groups)]

    def _reached(self, start: str) -> set[str]:
        """The modules that importing this one leads to; itself only by a circle."""
        found: set[str] = set()
        new = set(self.edges[start])
        while new:
            found |= new
            new = {x for name in new for x in self.edges[name]} - found
        return found

    def any_parameters(self) -> list[str]:
        """The parameters whose whole annotation is `Any`."""
        return [
            f"{name}:{function.name}({a.arg})"
            for name, module in self.modules.items()
            for function in module.functions
            for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
            if a.annotation is not None and ast.unparse(a.annotation) in ("Any", "typing.Any")
        ]

    def late_imports(self) -> list[tuple[Module, Import, set[str]]]:
        """The imports of the package's own modules inside functions, with the modules that they name."""
        return [
            (module, node, ours)
            for module in self.modules.values()
            for node in module.late
            if (ours := self.ours(module, node))
        ]

    def needless_late_imports(self) -> list[str]:
        """Those late imports that spare nobody a heavy package: whoever runs the function's module has it already."""
        return [
            f"{module.name}:{node.lineno} {ast.unparse(node)}"
            for module, node, ours in self.late_imports()
            if module.name not in DOORS and not set().union(*(self.heavy(x) for x in ours)) - self.heavy(module.name)
        ]

    def heavy(self, name: str) -> set[str]:
        """The heavy packages that are imported with a module, by itself or by what it imports at once."""
        found: set[str] = set()
        seen: set[str] = set()
        new = {name}
        while new:
            seen |= new
            parents = {x.rpartition(".")[0] for x in new if "." in x}
            nodes = [(self.modules[x], node) for x in new for node in self.modules[x].at_once]
            for module, node in nodes:
                found |= {x for full in _names(module.name, node) for x in _heavy_of(full)}
            new = (parents | {x for module, node in nodes for x in self.ours(module, node)}) - seen
        return found

    def long_files(self) -> list[str]:
        """The files past 300 lines."""
        sizes = {name: len(module.text.splitlines()) for name, module in self.modules.items()}
        return [f"{name} {size}" for name, size in sizes.items() if size > LONG_FILE]

    def long_functions(self) -> list[str]:
        """The functions past 40 lines; the signature is not counted."""
        return [
            f"{name}:{function.name} {size}"
            for name, module in self.modules.items()
            for function in module.functions
            if (size := (function.end_lineno or 0) - function.body[0].lineno + 1) > LONG_FUNCTION
        ]

    def shared_names(self) -> list[str]:
        """The public names that more than one module defines: each of them means two things."""
        counts = Counter(name for module in self.modules.values() for name in module.public)
        return [f"{name} x{count}" for name, count in counts.most_common() if count > 1]

    @cached_property
    def found(self) -> dict[str, list[str]]:
        """What the figures count."""
        circles = self.circles()
        return {
            "circles": circles,
            "files in circles": [name for circle in circles for name in circle.split(" <-> ")],
            "parameters that are Any": self.any_parameters(),
            "imports of our own inside functions": [f"{m.name}:{x.lineno}" for m, x, _ in self.late_imports()],
            "imports inside functions that spare nothing": self.needless_late_imports(),
            "files past 300 lines": self.long_files(),
            "functions past 40 lines": self.long_functions(),
            "public names in several modules": self.shared_names(),
        }

    @cached_property
    def figures(self) -> dict[str, int]:
        """Every figure by name."""
        counts = {name: len(found) for name, found in self.found.items()}
        return counts | {"lines of code": sum(module.lines_of_code for module in self.modules.values())}


@cache
def whole_package() -> House:
    """The package, read once for all that look at it."""
    return House()


def _names(importer: str, node: Import) -> list[str]:
    """The full names that an import statement asks for: `from a import b` is `a.b`, whatever `b` is."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, f"{importer}: a relative import"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def _heavy_of(name: str) -> set[str]:
    """The heavy packages that importing this name of a third party brings."""
    return {
        x
        for package, brought in HEAVY.items()
        if name == package or name.startswith(f"{package}.")
        for x in (package, *brought)
    }


def main(arguments: list[str]) -> None:
    house = whole_package()
    figures = house.figures
    if arguments == ["--write"]:
        before = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
        kept = {name: min(figure, before.get(name, figure)) for name, figure in figures.items()}
        STORED.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        return
    for title, found in house.found.items():
        print(f"{title}: {len(found)}", *(f"  {text}" for text in found), sep="\n")
    print(f"lines of code: {figures['lines of code']}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`dlrun WORDS` that writes down when its first step was done: `python first_step.py FILE WORDS`. For start-up times.

The module that chooses the step is wrapped as it is imported, so that nothing is imported earlier than it would be.
"""

from __future__ import annotations

import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

WRAPPED = "dlrun.engine.steps"


class NoteFirst:
    """A step that notes the time after its first call."""

    def __init__(self, step: Any, note: Path) -> None:
        self.step, self.note, self.done = step, note, False

    def __call__(self, *arguments: Any) -> Any:
        result = self.step(*arguments)
        if not self.done:
            self.done = True
            self.note.write_text(repr(time.time()))
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)


class Wrapper(MetaPathFinder, Loader):
    """Finds the module as always, and wraps its `choose_step`."""

    def __init__(self, note: Path) -> None:
        self.note = note
        self.inner: Any = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != WRAPPED:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        choose: Any = module.__dict__["choose_step"]

        def choose_step(*arguments: Any, **settings: Any) -> tuple[Any, list[str]]:
            step, words = choose(*arguments, **settings)
            return NoteFirst(step, self.note), words

        module.__dict__["choose_step"] = choose_step


if __name__ == "__main__":
    sys.meta_path.insert(0, Wrapper(Path(sys.argv[1])))
    sys.argv[1:] = sys.argv[2:]
    from dlrun.cli import main

    sys.exit(main())

"""`dlrun WORDS` with its times noted from outside: `noted.py FILE WORDS`.

Noted are the end of the first step, the speed of each epoch by the wall clock, and what each checkpoint took. The
modules concerned are wrapped as they are imported, so that nothing is imported earlier than it would be.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


class Notes:
    """What is noted: seconds since 1970 of the first step's end, samples a second of each epoch, seconds of each
    checkpoint.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.speeds: list[float] = []
        self.saves: list[float] = []

    def steps(self, module: dict[str, Any]) -> None:
        """Wrap the step that `choose_step` gives."""
        choose = module["choose_step"]

        def choose_step(*arguments: Any, **settings: Any) -> tuple[Any, list[str]]:
            step, words = choose(*arguments, **settings)
            return NoteFirst(step, self), words

        module["choose_step"] = choose_step

    def loop(self, module: dict[str, Any]) -> None:
        """Time the epochs of `fit`: from the end of one to the end of the next, without evaluation.

        What the caller of `fit` does with its records (tables, lines on the screen, checkpoints) is within.
        """
        fit, record = module["fit"], module["EpochRecord"]

        def timed(*arguments: Any) -> Iterator[Any]:
            began = time.perf_counter()
            for event in fit(*arguments):
                if isinstance(event, record):
                    ended, seconds = time.perf_counter(), event.seconds
                    samples = event.row["samples_per_second"] * seconds["train"]
                    self.speeds.append(samples / (ended - began - seconds["eval"]))
                    began = ended
                yield event

        module["fit"] = timed

    def saver(self, module: dict[str, Any]) -> None:
        """Time what `Saver.save` does."""
        save = module["Saver"].save

        def timed(*arguments: Any) -> None:
            began = time.perf_counter()
            save(*arguments)
            self.saves.append(time.perf_counter() - began)

        module["Saver"].save = timed


class NoteFirst:
    """A step that notes the time after its first call."""

    def __init__(self, step: Any, notes: Notes) -> None:
        self.step, self.notes = step, notes

    def __call__(self, *arguments: Any) -> Any:
        result = self.step(*arguments)
        if self.notes.first is None:
            self.notes.first = time.time()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.step, name)


class Wrapper(MetaPathFinder):
    """Finds modules as always, and wraps some."""

    def __init__(self, wraps: dict[str, Callable[[dict[str, Any]], None]]) -> None:
        self.wraps = wraps

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.wraps:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = WrappedLoader(spec.loader, self.wraps[name])
        return spec


class WrappedLoader(Loader):
    """Loads a module, then wraps what is in it."""

    def __init__(self, inner: Any, wrap: Callable[[dict[str, Any]], None]) -> None:
        self.inner, self.wrap = inner, wrap

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        self.wrap(module.__dict__)


if __name__ == "__main__":
    notes, file = Notes(), Path(sys.argv[1])
    wraps = {"dlrun.engine.choose": notes.steps, "dlrun.engine.loop": notes.loop, "dlrun.run.saver": notes.saver}
    sys.meta_path.insert(0, Wrapper(wraps))
    sys.argv[1:] = sys.argv[2:]
    from dlrun.cli import main

    code = main()
    file.write_text(json.dumps(vars(notes)))
    sys.exit(code)

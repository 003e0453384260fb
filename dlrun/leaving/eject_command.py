"""`dlrun eject RUN -o train.py`: write a run as one plain PyTorch file."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import ConfigError, Problem, RunError, cannot_write
from dlrun.inference.trained import own_config
from dlrun.inference.which import best_run
from dlrun.leaving.eject import Ejected, eject
from dlrun.leaving.proof import compare_steps, expect_same_start
from dlrun.plain import say
from dlrun.run.environment import package_version
from dlrun.store.files import write_atomic
from dlrun.store.find import user_path

DEFAULT = "train.py"


@dataclass(frozen=True)
class EjectRequest:
    """What the command line asks of `eject` besides the run."""

    output: str = DEFAULT
    check: bool = False
    overwrite: bool = False


def eject_command(word: str, asked: EjectRequest) -> int:
    """Write the file and say how to run it. Nothing is written where the file is not the run."""
    run, note = best_run(word)
    config = own_config(run)
    path = user_path(asked.output)
    expect_python(path)
    name = f"{config.model.name} on {config.dataset.name}"
    title = f"{name} in plain PyTorch: the run {run.path.name} of dlrun {package_version('dlrun')}, written out."
    made = eject(config, title=title, file=path.name)
    places = {path.parent / name: source.read_bytes() for name, source in made.files.items()}
    places[path] = made.text.encode()
    expect_free(places, asked.overwrite)
    checked = proved(made, path.name, asked.check)
    try:
        for place, content in places.items():
            write_atomic(place, content)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    for line in filter(None, [note, *told(path, made), checked, f"  run it: python {shlex.quote(asked.output)}"]):
        say(line)
    return 0


def proved(made: Ejected, name: str, check: bool) -> str:
    """A line on what was compared. Raises `ConfigError` or `CheckFailed` where the file is not the run."""
    with tempfile.TemporaryDirectory(prefix="dlrun-eject-") as folder:
        file = Path(folder, name)
        file.write_text(made.text, encoding="utf-8")
        for beside, source in made.files.items():
            Path(folder, beside).write_bytes(source.read_bytes())
        try:
            expect_same_start(file, made.components)
            if not check:
                return ""
            steps, evaluations = compare_steps(file, made.components)
        finally:
            made.components.close()
    evaluated = f"{evaluations} evaluation{'s' if evaluations > 1 else ''}"
    return f"  checked: the losses of {steps} steps and {evaluated} equal dlrun's to the bit, on one thread of the CPU"


def told(path: Path, made: Ejected) -> list[str]:
    """The files that were written."""
    lines = [f"{path}: {made.text.count(chr(10))} lines of plain PyTorch"]
    return lines + [f"{path.parent / name}: the data that it reads" for name in made.files]


def expect_python(path: Path) -> None:
    """Raise `ConfigError` for an output that is no Python file, or lies in no folder."""
    if path.suffix != ".py":
        raise ConfigError(Problem("--output", f"{path} does not end in .py."))
    if not path.parent.is_dir():
        raise ConfigError(Problem("--output", f"there is no folder {path.parent}."))


def expect_free(places: dict[Path, bytes], overwrite: bool) -> None:
    """Raise `ConfigError` for files that would be replaced by something else."""
    for path, content in places.items():
        if os.path.isdir(path):
            raise ConfigError(Problem("--output", f"{path} is a folder."))
        if os.path.lexists(path) and not overwrite and not (path.is_file() and path.read_bytes() == content):
            hint = "Give another name, or --overwrite."
            raise ConfigError(Problem("--output", f"{path} is there already, and not what would be written.", hint))

"""A run in a process of its own, which `verify-resume` starts and kills."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dlrun.components import plugins
from dlrun.config.config import Config
from dlrun.errors import DlrunError
from dlrun.plain import say
from dlrun.run.preload import modules
from dlrun.run.runner import run_frozen
from dlrun.run.screen import Screen
from dlrun.store.rundir import RunDir
from dlrun.workers.client import Child, Server


def server_for(config: Config) -> Server:
    """A server that has imported what the run needs, so that each process starts in a fraction of a second."""
    return Server([__name__, *modules([config])])


def start(server: Server, config: Path, run: RunDir) -> Child:
    """Start a process that begins or resumes the run, with the plug-ins of this process.

    Its output goes to RUN.log; its exit code is that of the run.
    """
    references = [plugin.reference for plugin in plugins.loaded()]
    arguments = {"config": str(config.resolve()), "run_dir": str(run.path.resolve()), "plug_ins": references}
    return server.start(run.path.name, f"{__name__}:train_frozen", {**arguments, "folder": os.getcwd()})


def log_file(run_dir: Path) -> Path:
    """The file with the output of a run's processes."""
    return run_dir.with_name(f"{run_dir.name}.log")


def train_frozen(config: str, run_dir: str, plug_ins: Sequence[str], folder: str) -> int:
    """Begin or resume the run in this process. Returns its exit code."""
    os.chdir(folder)
    log = os.open(log_file(Path(run_dir)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        plugins.load_plugins(plug_ins)
        frozen = Config.from_yaml(Path(config))
        code = run_frozen(frozen, RunDir(run_dir), screen=Screen(terminal=False)).exit_code
    except DlrunError as error:
        say(f"Error: {error}")
        code = error.exit_code
    sys.stdout.flush()
    return code

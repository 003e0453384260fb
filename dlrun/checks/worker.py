"""One frozen run in a process of its own, which may be killed: what `verify-resume` starts."""

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
    """A server that has imported what a run of the configuration needs: a start takes a moment, not seconds."""
    return Server([__name__, *modules([config])])


def start(server: Server, config: Path, run: RunDir) -> Child:
    """A process that begins the run of config.yaml, or goes on with it, with the plug-ins of this one.

    Its words go to RUN.log; its exit code is that of the run.
    """
    references = [plugin.reference for plugin in plugins.loaded()]
    arguments = {"config": str(config.resolve()), "run_dir": str(run.path.resolve()), "plug_ins": references}
    return server.start(run.path.name, f"{__name__}:train_frozen", {**arguments, "folder": os.getcwd()})


def log_of(run_dir: Path) -> Path:
    """What the processes of a run print."""
    return run_dir.with_name(f"{run_dir.name}.log")


def train_frozen(config: str, run_dir: str, plug_ins: Sequence[str], folder: str) -> int:
    """In the process: returns the exit code of the run."""
    os.chdir(folder)
    log = os.open(log_of(Path(run_dir)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        plugins.load(plug_ins)
        frozen = Config.from_yaml(Path(config))
        code = run_frozen(frozen, RunDir(run_dir), screen=Screen(terminal=False)).exit_code
    except DlrunError as error:
        say(f"Error: {error}")
        code = error.exit_code
    sys.stdout.flush()
    return code

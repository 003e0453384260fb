"""One frozen run in a process of its own, which may be killed: what `verify-resume` starts."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dlrun.processes import safe_path, set_variables

PRELOADED = ["dlrun.run.build", "dlrun.run.resume", "dlrun.run.closing", "dlrun.report.curves"]


def start(config: Path, run_dir: Path, plugins: Sequence[str] = ()) -> multiprocessing.context.ForkServerProcess:
    """A process that begins the run of config.yaml in `run_dir`, or goes on with it. Its words go to RUN_DIR.log.

    It is forked from a server that has imported what a run needs: a start takes a moment, not seconds. Its exit
    code is that of the run.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    paths = (str(config.resolve()), str(run_dir.resolve()), os.getcwd())
    with safe_path() as before:
        process = context.Process(target=work, args=(*paths, list(plugins), before))
        process.start()
    return process


def log_of(run_dir: Path) -> Path:
    """What the processes of a run print."""
    return run_dir.with_name(f"{run_dir.name}.log")


def work(config: str, run_dir: str, folder: str, plugins: list[str], variables: dict[str, str | None]) -> None:
    """In the process. Ends it with the exit code of the run."""
    set_variables(variables)
    os.chdir(folder)
    log = os.open(log_of(Path(run_dir)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    multiprocessing.set_start_method("fork", force=True)  # for the workers of DataLoader, as in any run
    from dlrun.components.plugins import load
    from dlrun.config.config import Config
    from dlrun.errors import DlrunError
    from dlrun.run.runner import run_frozen
    from dlrun.run.screen import Screen
    from dlrun.store.rundir import RunDir

    try:
        load(plugins)
        frozen = Config.from_yaml(Path(config))
        code = run_frozen(frozen, RunDir(run_dir), screen=Screen(terminal=False)).exit_code
    except DlrunError as error:
        print(f"Error: {error}", flush=True)
        code = error.exit_code
    sys.exit(code)

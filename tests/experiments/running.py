"""Runs one row of the table, with the very command that the page names, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .figures import json_of
from .table import Case


def command(case: Case) -> str:
    """What a user types."""
    several = "-m " if case.seeds else ""
    return " ".join([f"dlrun {several}experiment={case.preset}", *case.words])


def arguments(case: Case, place: Path, *, again: bool) -> list[str]:
    """The same as words for a process, in the folder `place`: gone on with, or finished already."""
    words = [f"experiment={case.preset}", *(word.strip("'") for word in case.words), "--quiet"]
    if case.is_sweep:
        return [*(["-m"] if case.seeds else []), *words, f"sweep.dir={place}", f"sweep.refresh={str(again).lower()}"]
    return [*words, f"run.dir={place}", "run.overwrite=true" if again else "resume=auto"]


def run(case: Case, place: Path, *, again: bool = False) -> int:
    """Run it; the exit code. What is finished already, with the same configuration, is not run again."""
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    words = arguments(case, place, again=again or is_stale(case, place))
    return subprocess.run([sys.executable, "-m", "dlrun", *words], env=environment, check=False).returncode


def is_stale(case: Case, place: Path) -> bool:
    """Are there runs of another configuration: has the preset changed since?"""
    from dlrun.config.config import Config
    from dlrun.config.expand import Expansion, plan

    words = [f"experiment={case.preset}", *(word.strip("'") for word in case.words)]
    planned = plan(words, multirun=case.seeds, search_cwd=False)
    jobs = [job.config for job in planned.jobs] if isinstance(planned, Expansion) else [planned]
    wanted = {job.identity for job in jobs if job}
    there = [Config.from_yaml(path / "config.yaml").identity for path in runs_of(case, place)]
    return not set(there) <= wanted


def runs_of(case: Case, place: Path) -> list[Path]:
    """The finished run directories of a row, in the order of their jobs."""
    found = [place] if not case.is_sweep else sorted(place.glob("jobs/*"), key=seed_of)
    return [path for path in found if json_of(path / "status.json").get("state") == "finished"]


def seed_of(run: Path) -> tuple[int, str]:
    """The key that jobs are sorted by: their seed as a number, then their name."""
    words = (run / "overrides.txt").read_text(encoding="utf-8").split() if (run / "overrides.txt").exists() else []
    seeds = [int(word.removeprefix("seed=")) for word in words if word.startswith("seed=")]
    return (seeds[-1] if seeds else 0, run.name)

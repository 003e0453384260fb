"""Versions, git state and machine of a run, for environment.json."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from dlrun.plain import Values

PACKAGES = ("dlrun", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "scikit-learn", "pandas")


KEPT: Values = {}  # facts that are read once for all runs of a sweep


def keep_facts() -> None:
    """Read versions and git state now, for the runs of the processes that are forked from this one."""
    KEPT.update({"versions": versions(), f"git of {os.getcwd()}": git_state()})


def environment_facts(argv: Sequence[str]) -> Values:
    """Versions, git commit, host and command, as plain values."""
    return {
        "argv": list(argv),
        "python": platform.python_version(),
        "versions": KEPT.get("versions") or versions(),
        "git": KEPT[folder] if (folder := f"git of {os.getcwd()}") in KEPT else git_state(),
        "host": {
            "name": platform.node(),
            "system": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "memory_gib": round(memory_bytes() / 2**30, 1),
        },
        "executable": os.path.basename(sys.executable),
        "working_directory": os.getcwd(),
    }


def versions() -> Values:
    """The versions of the packages that matter most to a run."""
    return {name: found for name in PACKAGES if (found := package_version(name))}


@cache  # reading a package's facts takes longer than all others together
def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_state() -> Values | None:
    """Commit and branch of the working folder, and whether it has changes; None outside of a git repository."""
    try:
        words = ["git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.splitlines()
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": facts.get("branch.oid"), "branch": facts.get("branch.head"), "dirty": dirty}


def memory_bytes() -> int:
    """The size of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

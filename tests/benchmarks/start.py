"""What a run costs beyond `python -c "import torch"`, in seconds of CPU: medians of processes that take turns.

    python tests/benchmarks/start.py [--rounds 7] [--core 0]

Each round runs every command once, each in a fresh process pinned to one core with one thread. CPU time (user and
system) hardly depends on what else the machine does, and the differences are formed within a round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.process import Setting, quiet_core

IMPORT = "import torch"
COMMANDS = {
    IMPORT: [sys.executable, "-c", "import torch"],
    "the default run": [sys.executable, "-m", "dlrun", "run.dir=run"],
    "without figures": [sys.executable, "-m", "dlrun", "run.dir=run", "run.figures=none"],
    "trainer=smoke": [sys.executable, "-m", "dlrun", "run.dir=run", "trainer=smoke"],
}


def cpu_seconds(command: list[str], setting: Setting) -> float:
    """The CPU time of a command with all that it starts, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dlrun_start_") as folder:
        process = subprocess.Popen(
            command, cwd=folder, env=setting.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if setting.core is not None:
            os.sched_setaffinity(process.pid, {setting.core})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
        return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the median of each command, and of its difference from importing torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=quiet_core())
    parser.add_argument("--python", default=sys.executable, help="an interpreter with another dlrun")
    given = parser.parse_args()
    setting = Setting(Path("data"), given.core, limit=0)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(given.rounds + 1):
        for name, (_, *words) in COMMANDS.items():
            taken = cpu_seconds([given.python, *words], setting)
            if number:  # the first compiles what it imports
                seconds[name].append(taken)
    print(f"CPU seconds, medians of {given.rounds} rounds on core {given.core}")
    for name, taken in seconds.items():
        beyond = [own - base for own, base in zip(taken, seconds[IMPORT], strict=True)]
        more = f"  {median(beyond):+.2f} beyond {IMPORT}" if name != IMPORT else ""
        print(f"  {name:18} {median(taken):5.2f}{more}")


if __name__ == "__main__":
    main()

"""`python -m dlrun.after.worker CONFIG.yaml RUN_DIR`: begin a frozen configuration, or go on with it."""

from __future__ import annotations

import sys
from pathlib import Path

from dlrun.config.schema import Config
from dlrun.errors import DlrunError
from dlrun.run.rundir import RunDir
from dlrun.run.runner import run_frozen
from dlrun.run.screen import Screen


def main(config: str, run_dir: str) -> int:
    """Returns the exit code of the run."""
    try:
        frozen = Config.from_yaml(Path(config))
        return run_frozen(frozen, RunDir(run_dir), screen=Screen(terminal=False)).exit_code
    except DlrunError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

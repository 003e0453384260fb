"""Tasks for a warm server: they need nothing but Python."""

from __future__ import annotations

import os
import time
from pathlib import Path


def end_with(code: int, file: str) -> int:
    """Write what the process finds, and end."""
    alone = os.getpgid(0) == os.getpid()
    Path(file).write_text(f"{alone} {os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK')} {os.read(0, 1)!r}")
    return code


def run_code(code: str, output: str) -> int:
    """Run the code, with what it prints in a file."""
    with open(output, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    exec(code, {})
    return 0


def go_on(folder: str) -> int:
    """Go on until something ends the process, and another that it has started."""
    if os.fork() != 0:
        Path(folder, str(os.getpid())).touch()
    else:
        Path(folder, f"{os.getpid()}.child").touch()
    time.sleep(600)
    return 0

"""Tasks for a warm server: they need nothing but Python."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
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


def note_nothing() -> Callable[[], bool]:
    """The `keep` of a process whose state need not be restored."""
    return lambda: True


def note_once() -> Callable[[], bool]:
    """The `keep` of a process whose state cannot be restored."""
    return lambda: False


def note_and_end() -> Callable[[], bool]:
    """The `keep` of a process that dies while it restores its state."""
    return lambda: os._exit(3)


def meet(number: int) -> int:
    """Send this process a signal that Python handles."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), number)
    return 0


def use_memory(mib: int) -> int:
    """Use so much memory for a moment."""
    return len(bytearray(mib << 20)) & 0

"""The state of a process that runs one job after another: each begins as in a new process.

What jobs change is restored: environment variables, folder, warning filters, threads, deterministic algorithms, random
generators. Garbage is collected and returned, so that the peak memory of a job is its own. Whatever else the components
of dlrun never change is compared; where it has changed, the process takes no more jobs.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from decimal import getcontext

import numpy as np
import torch

from dlrun.plain import Values


def note_state() -> Callable[[], bool]:
    """Note the state of this process. Returns a function that restores it, or returns False if it cannot."""
    changing, lasting = Changing(), lasting_state()

    def restore() -> bool:
        changing.restore()
        return lasting_state() == lasting

    return restore


class Changing:
    """What the components of dlrun change in a process, as it is when this is made."""

    def __init__(self) -> None:
        self.environment, self.folder = dict(os.environ), os.getcwd()
        self.filters = list(warnings.filters)
        self.threads = torch.get_num_threads()
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.benchmark = torch.backends.cudnn.benchmark
        self.generators = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def restore(self) -> None:
        """Set everything back."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        if self.deterministic != torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(self.deterministic)
        warnings.resetwarnings()  # also forgets which warnings each module has shown
        warnings.filters[:] = self.filters  # type: ignore[index]
        warnings.onceregistry.clear()  # type: ignore[attr-defined]
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.benchmark
        random.setstate(self.generators[0])
        np.random.set_state(self.generators[1])
        torch.set_rng_state(self.generators[2])
        gc.collect()
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)  # glibc's: else freed memory counts as that of the next job


def lasting_state() -> Values:
    """What only a user's code changes, or a job that started processes or threads."""
    return {
        "threads": threading.active_count(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "streams": (sys.stdin, sys.stdout, sys.stderr, sys.excepthook),
        "path": (list(sys.path), list(sys.argv)),
        "limits": (sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold(), str(getcontext())),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "numpy": np.geterr(),
        "dtype": (torch.get_default_dtype(), torch.get_default_device(), torch.get_float32_matmul_precision()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ),
        "kernels": (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic, torch.backends.mkldnn.enabled),
    }

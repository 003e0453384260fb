"""Freed memory stays with the process, so that the next step finds it mapped.

glibc gives a large block back to the system as soon as it is freed and asks for another at the next step: for
activations of a megabyte or two the page faults cost about a twentieth of a step on the CPU (perceptrons,
convolutions and recurrent networks alike).
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 32 * 2**20  # bytes; larger blocks (whole data sets) still go back at once
KEPT = 512 * 2**20  # bytes that may lie free at the end of the heap


def keep_freed_memory() -> bool:
    """Ask glibc to keep blocks of up to 32 MiB when they are freed. False where there is no glibc."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, KEPT))

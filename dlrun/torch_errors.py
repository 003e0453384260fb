"""The sentences of torch by which its errors are told apart, where it has no class for them.

`tests/engine/test_torch_errors.py` makes torch say each of them.
"""

from __future__ import annotations

import re

import torch

OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|^CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
ANOMALY = re.compile(r"^Function '\w+' returned nan values in its \d+th output\.")  # of detect_anomaly
READER_DIED = re.compile(r"^DataLoader worker \(pid.*\) (exited unexpectedly|is killed by signal)")


def is_out_of_memory(error: BaseException) -> bool:
    """Is the memory of the device or of the machine used up?"""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def is_anomaly(error: BaseException) -> bool:
    """Did `detect_anomaly` find a gradient that is NaN?"""
    return isinstance(error, RuntimeError) and ANOMALY.match(str(error)) is not None


def is_dead_reader(error: BaseException) -> bool:
    """Did a process end that reads data for a DataLoader?"""
    return isinstance(error, RuntimeError) and READER_DIED.match(str(error)) is not None

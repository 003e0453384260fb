"""Recognize errors of torch by their messages, where torch has no class for them.

`tests/test_torch_errors.py` makes torch raise each of them.
"""

from __future__ import annotations

import re

OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|^CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
OVERFLOW = re.compile(r"^value cannot be converted to type \S+ without overflow")  # of an optimizer's step
ANOMALY = re.compile(r"^Function '\w+' returned nan values in its \d+th output\.")  # of detect_anomaly
READER_DIED = re.compile(r"^DataLoader worker \(pid.*\) (exited unexpectedly|is killed by signal)")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the machine is exhausted."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def is_overflow(error: BaseException) -> bool:
    """Whether a number, such as a learning rate, is too large for the type of a tensor."""
    return isinstance(error, RuntimeError) and OVERFLOW.match(str(error)) is not None


def is_anomaly(error: BaseException) -> bool:
    """Whether `detect_anomaly` found a gradient that is NaN."""
    return isinstance(error, RuntimeError) and ANOMALY.match(str(error)) is not None


def is_dead_reader(error: BaseException) -> bool:
    """Whether a worker of a DataLoader died."""
    return isinstance(error, RuntimeError) and READER_DIED.match(str(error)) is not None

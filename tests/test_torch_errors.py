"""Torch says what `dlrun/torch_errors.py` expects it to say."""

from __future__ import annotations

import os
import signal
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dlrun.torch_errors import is_anomaly, is_dead_reader, is_out_of_memory, is_overflow


def test_memory_of_the_machine() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as caught_by_numpy:
        np.empty(1 << 50)
    assert is_out_of_memory(caught_by_numpy.value)
    assert not is_out_of_memory(RuntimeError("the queue ran out of memory cards"))


@pytest.mark.gpu
def test_memory_of_the_gpu() -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 50, device="cuda")
    assert is_out_of_memory(caught.value)


def test_a_rate_that_is_too_large_for_the_weights() -> None:
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=3e38)
    weight.sum().backward()
    with pytest.raises(RuntimeError) as caught:
        optimizer.step()
    assert is_overflow(caught.value)


def test_a_gradient_that_is_nan_under_detect_anomaly() -> None:
    x = torch.zeros(1, requires_grad=True)
    with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("ignore")  # it is slow
        with pytest.raises(RuntimeError) as caught:
            (torch.sqrt(x) * 0).backward()
    assert is_anomaly(caught.value)


def test_a_tensor_that_was_changed_in_place_is_no_anomaly() -> None:
    """Torch names detect_anomaly in this error, too, as a means to find the operation."""
    x = torch.ones(1, requires_grad=True)
    y = x.exp()
    z = y * 2
    y.add_(1)
    with pytest.raises(RuntimeError, match="set_detect_anomaly") as caught:
        z.backward()
    assert not is_anomaly(caught.value)


class Deadly(Dataset[int]):
    """Ends the process that reads its first row."""

    def __init__(self, kill: bool) -> None:
        self.kill = kill

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3)


@pytest.mark.parametrize("kill", [True, False])
def test_a_process_that_reads_data_and_dies(kill: bool) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Deadly(kill), num_workers=1))
    assert is_dead_reader(caught.value)
    assert not is_dead_reader(RuntimeError("DataLoader worker was asked"))

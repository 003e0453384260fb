"""Seed, save and restore the random generators of torch, numpy and Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dlrun.spec import StateDict

CPU = torch.device("cpu")


@contextmanager
def forked(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Context manager that seeds the generators of torch, numpy and Python, and restores their states afterwards.

    Of torch, these are the generators of the CPU and of `device`.
    """
    python, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # On the CPU, `torch.manual_seed` would also seed GPUs, whose states are not saved.
        (torch.manual_seed if device.type == "cuda" else torch.default_generator.manual_seed)(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(python)


def rng_state(device: torch.device) -> StateDict:
    """The states of all random generators that a step may use, as tensors and plain values."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    keys64 = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), keys64, int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def load_rng_state(state: StateDict, device: torch.device) -> None:
    """Restore the states of `rng_state`. The device's generator is not changed by a state of another kind of device."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["device"] is not None:
        torch.cuda.set_rng_state(state["device"].cpu(), device)

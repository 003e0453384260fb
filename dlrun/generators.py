"""The random generators of torch, numpy and Python: seeded for a while, kept in checkpoints, put back."""

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
    """Inside, the generators of torch (the CPU's and the device's), numpy and Python start from `seed`.

    Afterwards they are as they were before.
    """
    python, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # `torch.manual_seed` would seed GPUs too, whose generators are kept only where one is the device.
        (torch.manual_seed if device.type == "cuda" else torch.default_generator.manual_seed)(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(python)


def rng_state(device: torch.device) -> StateDict:
    """The states of all random generators that a step may draw from, as tensors and plain Python."""
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
    """The inverse of `rng_state`. A checkpoint of another kind of device keeps this device's generator."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["device"] is not None:
        torch.cuda.set_rng_state(state["device"].cpu(), device)

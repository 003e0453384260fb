"""Where every random number comes from: one seed, and a stream of its own for each purpose.

Streams keep runs comparable: another split does not change the initial weights, one more dropout layer does
not change the order of the rows. The four of a run are "split", "weights", "order" and "noise"; made-up data
uses "data".
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def derive(seed: int, stream: str) -> int:
    """A seed for one purpose, in [0, 2**63): SHA-256 of both, so the same everywhere and for ever."""
    digest = sha256(f"{seed}:{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator for that stream."""
    return torch.Generator().manual_seed(derive(seed, stream))


def permutation(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The order (n,) int64 in which an epoch visits `n` rows, on `device`: a function of (seed, epoch) alone.

    It is drawn on the CPU, so that all devices see the same batches, and sent over without waiting.
    """
    order = torch.randperm(n, generator=generator(seed, f"order:{epoch}"))
    device = torch.device(device)
    if device.type == "cuda":
        return order.pin_memory().to(device, non_blocking=True)
    return order.to(device)

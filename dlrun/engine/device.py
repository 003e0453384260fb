"""Where a run computes: the choice of device, seeds, determinism."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from dlrun.errors import ConfigError, Problem


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA if there is a GPU, then MPS, then the CPU. Raises `ConfigError` for a device that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ConfigError(Problem("device.name", f"unknown device {name!r}.", "Allowed: auto, cpu, cuda, cuda:N, mps."))
    if kind == "cuda":
        check_cuda(name, int(number or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(Problem("device.name", "this machine has no MPS device.", "Try device=cpu."))
    return torch.device(name)


def make_current(device: torch.device) -> None:
    """Make a GPU that was named the current device, on which this process creates streams and graphs."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def check_cuda(name: str, number: int) -> None:
    """Raise `ConfigError` unless that GPU is there."""
    if not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU was found"
        raise ConfigError(Problem("device.name", f"{name} is not available: {why}.", "Try device=auto or device=cpu."))
    if number >= torch.cuda.device_count():
        raise ConfigError(
            Problem("device.name", f"{name} is not there: this machine has {torch.cuda.device_count()} GPU(s).")
        )


def device_words(device: torch.device) -> str:
    """Return the device's name for the header: `cuda:0 (NVIDIA H100)`, `cpu (1 thread)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return str(device)
    threads = torch.get_num_threads()
    return f"{device} ({threads} thread{'s' if threads > 1 else ''})"


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch on every device (trap T05)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_up(*, deterministic: bool) -> None:
    """Set determinism for this process (https://pytorch.org/docs/stable/notes/randomness.html)."""
    # Setting it imports the compiler, 0.9 s: only where it changes.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked, so that times are true (trap T40)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

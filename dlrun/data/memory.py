"""How much memory there is, so that data that fits a stated share of it is kept there."""

from __future__ import annotations

import os
from pathlib import Path

import torch

SHARE = 0.25  # of the available memory that one part of a data set may take
CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device | str = "cpu") -> int:
    """Bytes that are free on the device: on the host, what is free and what the control group allows."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [_from_meminfo(), _from_cgroup()]
    known = [value for value in free if value is not None]
    return min(known) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def fits(nbytes: int, device: torch.device | str = "cpu") -> bool:
    """Whether so many bytes are within `SHARE` of what is available."""
    return nbytes <= SHARE * available_bytes(device)


def _from_meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _from_cgroup(folder: Path = CGROUP) -> int | None:
    """What the control group (version 2) leaves; None where there is none or no limit.

    Files that were read and are no longer in use count as used, but are given up for whoever wants the memory:
    data that was read once must not seem to fill it.
    """
    try:
        limit, used = (folder / "memory.max").read_text(), (folder / "memory.current").read_text()
    except OSError:
        return None
    if not limit.strip().isdigit():
        return None
    return max(0, int(limit) - max(0, int(used) - _inactive_file(folder)))


def _inactive_file(folder: Path) -> int:
    """Bytes of the control group's page cache that nothing has used lately; 0 where that is not told."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))

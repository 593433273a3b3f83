"""How much memory there is for a run, and how much a process has had."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import psutil
import torch

MIB = 1 << 20


def peak_rss_mb() -> float:
    """The most memory that this process has had, MiB."""
    # Linux hands the figure of getrusage on from a process to what it starts; this one it does not.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        most = next(line for line in lines if line.startswith("VmHWM:"))
        return int(most.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def files_rss_mb() -> float:
    """The memory that holds pages of files, libraries above all, MiB.

    Processes that run the same libraries have these pages together. 0 where the system does not
    tell.
    """
    return float(getattr(psutil.Process().memory_info(), "shared", 0)) / MIB


def free_bytes(device: torch.device) -> int:
    """Memory that a run may take: of the device, or of the machine and its container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), _container_room())


def _container_room() -> int:
    """What the control group of this process leaves; a huge number without a limit."""
    files = (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    )
    for limit, usage in files:
        try:
            return int(Path(limit).read_text()) - int(Path(usage).read_text())
        except (OSError, ValueError):
            continue  # another version of cgroups, or the word "max"
    return 1 << 62


def room_of(device: torch.device, limit: int | None) -> float:
    """What a run may take: 95 % of what is free, or a given limit."""
    return float(limit) if limit is not None else 0.95 * free_bytes(device)

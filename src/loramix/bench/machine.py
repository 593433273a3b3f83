"""What figures were taken on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

_STREAMED = 256 << 20
"""Bytes that one reading streams at least."""

_CACHES = 4
"""How many of the last cache one reading streams: what is in it comes faster than memory does."""


def describe() -> dict[str, Any]:
    """Processor, cores, threads, memory, versions, and how busy the machine is."""
    import psutil

    packages = ("torch", "transformers", "peft")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": psutil.virtual_memory().total / 1e9,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def streaming_bandwidth(readings: int = 7) -> float:
    """Bytes a second that all threads together read from memory, the best of some readings.

    Read is what decoding one row reads: a matrix, once, by a product with a vector.
    """
    width = 4096
    streamed = max(_STREAMED, _CACHES * _last_cache())
    matrix = torch.ones(streamed // 4 // width, width)
    vector = torch.ones(width)
    best = float("inf")
    for _ in range(readings):
        start = time.perf_counter()
        torch.mv(matrix, vector)
        best = min(best, time.perf_counter() - start)
    return matrix.nbytes / best


def _last_cache() -> int:
    """Bytes of the largest cache that Linux tells of; 0 elsewhere."""
    found = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    with contextlib.suppress(OSError, ValueError):
        return max((1024 * int(size.read_text("ascii").strip("K\n")) for size in found), default=0)
    return 0

"""What figures were taken on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

_STREAMED = 256 << 20
"""Bytes that one reading streams: many times what a cache holds."""


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
    matrix = torch.ones(_STREAMED // 4 // width, width)
    vector = torch.ones(width)
    best = float("inf")
    for _ in range(readings):
        start = time.perf_counter()
        torch.mv(matrix, vector)
        best = min(best, time.perf_counter() - start)
    return matrix.nbytes / best

"""A file system that is really full, where one may be mounted."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory.

    Args:
        folder: where it is mounted.
        size: bytes that it holds.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount(f"size={size}", "tmpfs")

    def grow(self, size: int) -> None:
        """Have it hold more."""
        self._mount(f"remount,size={size}", "tmpfs")

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self, options: str, source: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, source, str(self.folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """One for the length of a block."""
    disk = SmallDisk(folder, size)
    try:
        yield disk
    finally:
        disk.close()

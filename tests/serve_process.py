"""A server as a user starts it: a process of its own, from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 180.0


class ServerProcess:
    """`loramix serve` at a free port.

    Attributes:
        url: where it listens.
        seconds: that it took to get there.
    """

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loramix", "serve", "--port", "0", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )
        try:
            while not (told := [line for line in self.log() if line.get("event") == "serving"]):
                assert self.process.poll() is None, self.text()
                assert time.monotonic() < begun + START_SECONDS, self.text()
                time.sleep(0.05)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        self.seconds = time.monotonic() - begun
        self.url = told[0]["url"]

    def text(self) -> str:
        """All that it has written to stderr."""
        return os.pread(self._log.fileno(), 1 << 26, 0).decode()

    def log(self) -> list[dict[str, Any]]:
        """Its log lines."""
        lines = [line for line in self.text().split("\n")[:-1] if line.startswith("{")]
        return [json.loads(line) for line in lines]

    def client(self, key: str | None = None) -> httpx.Client:
        """A client of it."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        return code


@contextlib.contextmanager
def serving(*arguments: str, env: dict[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server for the length of a block."""
    server = ServerProcess(*arguments, env=env)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def chat(text: str, model: str = "auto", **more: Any) -> dict[str, Any]:
    """The body of a chat of one message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def copied_library(folder: Path) -> Path:
    """The shipped library, where it may be changed."""
    from loramix.library import Library

    return Library.shipped().copy_to(folder).path

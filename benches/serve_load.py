"""What the benchmarks of the server share: a server of its own, and clients that cost little.

The server is `loramix serve` in another process. A client is a few lines over a socket, since on
two cores a full HTTP client would take the time that is to be measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

PROMPTS = (
    "What is 15% of 240?",
    "Write a Python function that adds two numbers.",
    "Label this e-mail as positive, negative, mixed or neutral: Dear team, the support was great.",
    "Put this app review in one line: The design is lovely. Sadly the login is terrible.",
    "How would you judge this feedback overall? The sound is great, but the cable is awful.",
)
MODELS = (
    *("auto", "base", "math", "code", "qa", "sentiment", "summarization"),
    *("code=0.5,math=0.5", "sentiment=0.5,summarization=0.5", "qa=0.3,math=0.3,code=0.4"),
)


@dataclass
class Reply:
    """What came of one request."""

    status: int = 0
    text: str = ""
    events: int = 0
    tokens: int = 0
    whole: bool = False
    error: str = ""
    seconds: float = 0.0
    first: float = 0.0
    longest: float = 0.0  # between two events
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """`loramix serve`; `pid` and `port` are its own."""

    def __init__(self, *arguments: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loramix", "serve", "--port", "0", *arguments],
            stderr=self._log,
        )
        self.pid = self._process.pid
        while '"serving"' not in self.text():
            if self._process.poll() is not None:
                raise RuntimeError(self.text())
            time.sleep(0.1)
        told = next(json.loads(s) for s in self.text().splitlines() if '"serving"' in s)
        self.port = int(told["url"].rsplit(":", 1)[1])

    def text(self) -> str:
        """Its log."""
        return os.pread(self._log.fileno(), 1 << 30, 0).decode()

    def memory(self) -> float:
        """Of the process, in MiB."""
        return float(psutil.Process(self.pid).memory_info().rss) / 2**20

    def figures(self) -> dict[str, float]:
        """Its metrics, those without labels."""
        reply = asyncio.run(ask(self.port, "GET", "/metrics"))
        lines = (line for line in reply.text.splitlines() if not line.startswith("#"))
        pairs = (line.rsplit(" ", 1) for line in lines)
        return {name: float(value) for name, value in pairs if "{" not in name}

    def stop(self) -> int:
        """End it; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[Server]:
    """One for the length of a block."""
    running = Server(*arguments)
    try:
        yield running
    finally:
        running.stop()


async def ask(
    port: int,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    leave_after: int | None = None,
) -> Reply:
    """One request over a connection of its own.

    Args:
        leave_after: events after which the client goes away.
    """
    reply, begun, seen = Reply(), time.perf_counter(), 0.0
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        data = b"" if body is None else json.dumps(body).encode()
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        reply.status = int(head[0].split()[1])
        pairs = (line.partition(": ") for line in head[1:] if line)
        reply.headers = {name.lower(): value for name, _, value in pairs}
        if "event-stream" not in reply.headers.get("content-type", ""):
            reply.text = (await reader.read()).decode()
            reply.whole = True
            return reply
        async for line in reader:
            if not line.startswith(b"data: "):
                continue
            now = time.perf_counter() - begun
            if not reply.events:
                reply.first = now
            else:
                reply.longest = max(reply.longest, now - seen)
            seen = now
            reply.events += 1
            if line.startswith(b"data: [DONE]"):
                reply.whole = True
            elif b'"usage":{' in line:
                reply.tokens = json.loads(line[6:])["usage"]["completion_tokens"]
            elif line.startswith(b'data: {"error"'):
                reply.error = json.loads(line[6:])["error"]["code"]
            if leave_after is not None and reply.events >= leave_after:
                return reply
    except (OSError, asyncio.IncompleteReadError) as error:
        reply.error = f"{type(error).__name__}: {error}"
    finally:
        reply.seconds = time.perf_counter() - begun
        if writer is not None:
            writer.close()
    return reply


def request(draw: random.Random, tokens: int, **more: Any) -> dict[str, Any]:
    """A streamed chat of some skill or blend; most of its tokens are drawn."""
    return {
        "model": draw.choice(MODELS),
        "messages": [{"role": "user", "content": draw.choice(PROMPTS)}],
        "max_tokens": tokens,
        "temperature": 2.0,
        "seed": draw.randrange(1 << 30),
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }

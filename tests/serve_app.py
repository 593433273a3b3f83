"""The application in this process, on a base that is loaded once."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from loramix.base import Base, load_base
from loramix.serve import ServeSettings, create_app


@functools.cache
def pocket() -> Base:
    """The base of the shipped library."""
    return load_base("pocket", "cpu")


@contextlib.contextmanager
def client(**settings: Any) -> Iterator[TestClient]:
    """A client of an application of its own."""
    with TestClient(
        create_app(ServeSettings(**settings), pocket()), base_url="http://localhost"
    ) as made:
        yield made


@dataclass(frozen=True)
class Live:
    """An application behind a socket of its own, which streams for real.

    Attributes:
        app: which can be looked into, since it is of this process.
        port: at 127.0.0.1.
    """

    app: FastAPI
    port: int

    def client(self) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)


@contextlib.contextmanager
def live(**settings: Any) -> Iterator[Live]:
    """An application of its own, served by a thread of this process."""
    app = create_app(ServeSettings(**settings), pocket())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert soon(lambda: server.started)
        yield Live(app, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)


def soon(check: Any, seconds: float = 10.0) -> bool:
    """Whether it comes true within some seconds."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def code(answer: Any) -> tuple[int, str]:
    """The status of an error, and its stable code."""
    return answer.status_code, answer.json()["error"]["code"]

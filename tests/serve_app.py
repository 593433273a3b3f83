"""The application in this process, on a base that is loaded once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

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


def code(answer: Any) -> tuple[int, str]:
    """The status of an error, and its stable code."""
    return answer.status_code, answer.json()["error"]["code"]

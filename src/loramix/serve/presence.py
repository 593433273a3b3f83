"""Work that ends when its client goes away before there is anything to send."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from loramix.serve.faults import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive

T = TypeVar("T")

LEFT = 499
"""The status in the log of a request whose client went away."""


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, if its client waits for it; else `work` is cancelled.

    Args:
        receive: of the connection; the body has been read.

    Raises:
        ApiError: the client went away.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(LEFT, "client_left", "The client went away.")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait((working, leaving))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

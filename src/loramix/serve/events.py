"""A stream of server-sent events, and a look-out for clients that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING

from fastapi.responses import Response

from loramix.engine import Piece, Submission
from loramix.serve.answers import Answer
from loramix.serve.faults import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SPARE_SECONDS = 10.0
"""How much longer than its request a reader may take, who holds the connection open."""


class Departure:
    """Cancels a submission when its client goes away.

    Args:
        receive: of the connection; the body has been read.
        submission: what is cancelled.

    Attributes:
        gone: whether the client has left.
    """

    def __init__(self, receive: Receive, submission: Submission) -> None:
        self.gone = False
        self._receive, self._submission = receive, submission
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._submission.cancel()

    def close(self) -> None:
        """Look no more; whatever is unfinished is not wanted either."""
        self._task.cancel()
        self._submission.cancel()


class EventStream(Response):
    """Sends an answer while it is written; an error in the midst is the last event.

    Args:
        answer: what makes events of the pieces.
        first: pieces that have come.
        batches: those that follow.
        departure: the look-out, closed at the end.
        fail: what a client reads of an exception.
        limit: seconds for all of it.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        answer: Answer,
        first: Sequence[Piece],
        batches: AsyncGenerator[list[Piece], None],
        departure: Departure,
        fail: Callable[[Exception], ApiError],
        limit: float,
    ) -> None:
        super().__init__(None, 200, {"cache-control": "no-store", **answer.header})
        del self.headers["content-length"]
        self._answer, self._first, self._batches = answer, first, batches
        self._departure, self._fail, self._limit = departure, fail, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        # a reader who takes nothing holds a place, which its request's deadline does not free
        timer = asyncio.get_running_loop().call_later(self._limit + SPARE_SECONDS, task.cancel)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            pieces: Sequence[Piece] | None = self._first
            body = b""
            try:
                while pieces is not None:
                    body = self._answer.events(pieces)
                    if self._answer.ended:  # goes out with the end of the response
                        break
                    if body:
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                    pieces, body = await anext(self._batches, None), b""
            except Exception as error:
                body = f"data: {json.dumps(self._fail(error).body())}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            timer.cancel()
            self._departure.close()
            await self._batches.aclose()

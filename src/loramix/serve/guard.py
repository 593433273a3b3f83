"""What a request meets before anything is read: keys, sizes, rates, and how many at once."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from loramix.serve.faults import ApiError
from loramix.serve.observe import NOTE, Note, key_name
from loramix.serve.presence import LEFT
from loramix.serve.settings import ServeSettings, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = {"/", "/health", "/ready"}
"""What anybody may GET: the page without content, and whether the server lives."""

OPEN_FOLDER = "/page/"
LIMITED = {"/v1/chat/completions", "/v1/completions", "/v1/route"}
"""What costs time, and so counts for a client's rate and for what it may have running."""

_HOST = re.compile(r"(?P<name>\[[^\[\]]*\]|[^:\[\]]*)(?::\d+)?")
BODY_SECONDS = 30.0
CLIENTS = 10_000
"""Clients whose rate is remembered."""


class Guard:
    """Refuses what is not allowed, and bounds what is."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings
        self._keys = [key.encode() for key in settings.api_keys]
        self._running: Counter[str] = Counter()
        # client → requests that it may still make, and when that was true
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        note: Note = scope[NOTE]
        try:
            client = self._open(scope, note)
            limited = scope["path"] in LIMITED
            if limited:
                note.serving.check_room()
                self._spend(client)
            body = await self._body(scope, receive)
            if limited:
                self._enter(client)
        except ApiError as error:
            note.error = error
            await error.response()(scope, receive, send)
            return
        try:
            await self._app(scope, body, send)
        finally:
            if limited:
                self._running[client] -= 1
                if not self._running[client]:
                    del self._running[client]

    def _open(self, scope: Scope, note: Note) -> str:
        """Who asks: a key, or an address where there are none. Raises ApiError for a stranger."""
        address = scope["client"][0] if scope.get("client") else ""
        if not self._keys:
            self._check_host(Headers(scope=scope).get("host", ""))
            return address
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_FOLDER)):
            return address
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        key = given.strip().encode()
        # all of them are compared, so that the time says nothing about which came near
        matches = [hmac.compare_digest(key, known) for known in self._keys]
        if kind.lower() != "bearer" or not any(matches):
            what = "is not one of this server's" if given else "is missing"
            raise ApiError(
                401,
                "invalid_api_key",
                f"The API key {what}. Send the header 'Authorization: Bearer KEY'.",
            )
        note.key = key_name(given.strip())
        return f"key {note.key}"

    def _check_host(self, host: str) -> None:
        """Without keys only this machine's own names: a page of the web whose name was made to
        point here (DNS rebinding) would otherwise be this server's own page to a browser.
        """
        found = _HOST.fullmatch(host)
        if is_loopback(self._settings.host) and not (found and is_loopback(found["name"])):
            raise ApiError(
                403,
                "other_host",
                "Without API keys this server answers to localhost and 127.0.0.1 alone.",
            )

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """The body, whole; then what else the connection says."""
        most = self._settings.max_body
        if scope["path"].startswith(OPEN_FOLDER):  # files, which have a limit of their own
            return receive
        stated = Headers(scope=scope).get("content-length", "0")
        if not stated.isascii() or not stated.isdigit():
            raise ApiError(400, "invalid_request", "The content-length is not a number.")
        parts, size, more = [], 0, True
        end = time.monotonic() + BODY_SECONDS
        if len(stated) > 18 or int(stated) > most:
            raise _too_large(most)
        try:
            while more:
                message = await asyncio.wait_for(receive(), end - time.monotonic())
                if message["type"] == "http.disconnect":
                    raise ApiError(LEFT, "client_left", "The body was cut off.")
                part = message.get("body", b"")
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
                more = message.get("more_body", False)
        except asyncio.TimeoutError:
            raise ApiError(
                408, "request_timeout", f"The body did not come in {BODY_SECONDS:g} seconds."
            ) from None
        whole: Message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
        waiting = [whole]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay

    def _enter(self, client: str) -> None:
        """Count a request that is answered. Raises ApiError where that is one too many."""
        most = self._settings.concurrency
        if most and self._running[client] >= most:
            raise ApiError(
                429,
                "too_many_at_once",
                f"This client has {most} requests open, which is all that it may.",
                retry_after=1,
            )
        self._running[client] += 1

    def _spend(self, client: str) -> None:
        """Take one from the bucket of a client, which fills up at its rate."""
        rate = self._settings.rate
        if not rate:
            return
        now = time.monotonic()
        left, then = self._left.pop(client, (float(rate), now))
        left = min(float(rate), left + (now - then) * rate / 60)
        self._left[client] = (max(0.0, left - 1) if left >= 1 else left, now)
        while len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        if left < 1:
            raise ApiError(
                429,
                "rate_limit_exceeded",
                f"This client may make {rate} requests a minute.",
                retry_after=(1 - left) * 60 / rate + 0.5,
            )


def _too_large(most: int) -> ApiError:
    return ApiError(413, "body_too_large", f"The body is larger than {most} bytes.")

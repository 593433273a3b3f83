"""One log line and some figures for each request, and an id by which both can be found."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders

from loramix.serve.faults import ApiError
from loramix.serve.logs import log
from loramix.serve.serving import Serving, new_id

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from loramix.serve.answers import Answer
    from loramix.serve.metrics import Metrics
    from loramix.serve.tracing import Tracing

NOTE = "loramix"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REFUSED_SECONDS = 1.0
"""Between two log lines about a full queue; each says how many were refused since the last."""

_QUIET = {"/health", "/ready", "/metrics"}


@dataclass
class Note:
    """What is known of a request, for its log line.

    Attributes:
        id: the client's own where it gives a plain one.
        key: which key opened the server: the beginning of its SHA-256.
        model, user, prompt: of the body; the prompt only where the log may have it.
        answer: once there is one.
        error: what the client read, where something went wrong.
        cause: what was raised, where that was a fault of ours.
        span: where requests are traced.
    """

    serving: Serving
    id: str
    key: str | None = None
    model: str | None = None
    user: str | None = None
    prompt: Any = None
    answer: Answer | None = None
    error: ApiError | None = None
    cause: Exception | None = None
    span: Span | None = None

    def failed(self, error: Exception) -> ApiError:
        """What the client reads of an error; it is kept for the log."""
        self.error = self.serving.error(error)
        if self.error.status in (500, 507):  # what the client is not told stands there
            self.cause = error
        return self.error


class Observer:
    """The outermost layer: ids, figures, log lines, and the last word on exceptions.

    Args:
        app: what it stands before.
        serving, metrics, tracing: what is told.
        paths: those that are answered and hold no names.
    """

    def __init__(
        self,
        app: ASGIApp,
        serving: Serving,
        metrics: Metrics,
        tracing: Tracing | None,
        paths: Collection[str],
    ) -> None:
        self._app, self._serving, self._metrics, self._tracing = app, serving, metrics, tracing
        self._paths = paths
        self._refused, self._told = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        note = Note(self._serving, asked if _ID.fullmatch(asked) else new_id("req"))
        scope[NOTE] = note
        begun, status = time.monotonic(), 0
        within: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self._tracing is not None and scope["path"] not in _QUIET:
            note.span = self._tracing.begin(scope)
            within = self._tracing.within(note.span)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = note.id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        self._metrics.in_flight.inc()
        try:
            with within:
                await self._app(scope, receive, sending)
        except Exception as error:
            told = note.failed(error)
            if not status:
                await told.response()(scope, receive, sending)
        finally:
            self._metrics.in_flight.dec()
            self._end(scope, note, status, time.monotonic() - begun)

    def _end(self, scope: Scope, note: Note, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route is None and scope["path"] in self._paths:  # refused before it was looked for
            route = scope["path"]
        endpoint = str(route or "other")
        metrics, answer = self._metrics, note.answer
        metrics.requests.labels(endpoint, str(status)).inc()
        metrics.seconds.labels(endpoint).observe(seconds)
        trace = None
        if self._tracing is not None and note.span is not None:
            trace = self._tracing.trace_id(note.span)
            self._tracing.end(note.span, note, scope["method"], route, status)
        fields: dict[str, Any] = {
            "id": note.id,
            "trace": trace,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "seconds": round(seconds, 4),
            "client": scope["client"][0] if scope.get("client") else None,
            "key": note.key,
            "model": note.model,
            "user": note.user,
            "prompt": note.prompt,
        }
        if answer is not None:
            ran = time.monotonic() - answer.submission.submitted
            metrics.answered(answer, ran)
            self._serving.answered(answer.submission.request.n)
            fields |= {
                "mix": str(answer.submission.mix) if answer.submission.mix is not None else None,
                "prompt_tokens": len(answer.submission.prompt_ids),
                "completion_tokens": answer.tokens,
                "first_token": None if answer.first is None else round(answer.first, 4),
                "finish": ",".join(reason or "cancel" for reason in answer.reasons),
                "answer": answer.texts,
            }
        if note.error is not None:
            fields |= {"error": note.error.code, "param": note.error.param}
        if note.error is not None and note.error.code == "queue_full":
            # a flood of them must not take the time of those who are answered
            self._refused += 1
            if time.monotonic() < self._told + REFUSED_SECONDS:
                return
            fields["refused"], self._refused, self._told = self._refused, 0, time.monotonic()
        level = logging.ERROR if status >= 500 or note.cause is not None else logging.INFO
        if status >= 400 or level == logging.ERROR or scope["path"] not in _QUIET:
            kept = {name: value for name, value in fields.items() if value is not None}
            log("request", kept, level=level, cause=note.cause)


def note_of(request: Request) -> Note:
    """What is known of a request so far."""
    note: Note = request.scope[NOTE]
    return note


def key_name(key: str) -> str:
    """How a key is called in the log."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]

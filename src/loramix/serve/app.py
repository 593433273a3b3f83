"""The application: one engine, its routes, and what stands before them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from loramix import __version__
from loramix.base import Base
from loramix.errors import LoramixError
from loramix.serve import adapters, health, openai, page, skills
from loramix.serve.faults import ApiError
from loramix.serve.guard import Guard
from loramix.serve.metrics import Metrics
from loramix.serve.observe import Observer, note_of
from loramix.serve.reading import invalid, refused
from loramix.serve.serving import Serving
from loramix.serve.settings import ServeSettings
from loramix.serve.tracing import Tracing

_HEADERS = ["x-loramix-mix", "x-request-id", "retry-after"]


def create_app(settings: ServeSettings | None = None, base: Base | None = None) -> FastAPI:
    """The application, with its library open and its engine running.

    `app.state` has `serving` (all of it), and of that `settings`, `engine` and `library`.

    Args:
        settings: how it is run.
        base: already loaded; None loads the library's.

    Raises:
        LoramixError: the library or the base cannot be used.
    """
    settings = settings or ServeSettings()
    tracing = Tracing(settings) if settings.traced else None
    serving = Serving(settings, base).start()
    metrics = Metrics(serving)
    app = FastAPI(
        title="loramix",
        version=__version__,
        description="One frozen language model, many LoRA skills, each request with its own mix.",
        docs_url=None,  # these pages would load their scripts from elsewhere
        redoc_url=None,
        strict_content_type=True,  # browsers send a body without a type to any site, unasked
        lifespan=_lifespan,
    )
    app.state.serving, app.state.metrics = serving, metrics
    app.state.settings, app.state.engine = settings, serving.engine
    app.state.library, app.state.tracing = serving.library, tracing
    parts = (openai, skills, adapters, health, page)
    for part in parts:
        app.include_router(part.router)
    for kind in (ApiError, LoramixError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _told)
    app.add_middleware(Guard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # clients of OpenAI's send many of their own
            expose_headers=_HEADERS,
        )
    paths = {str(getattr(route, "path", "")) for part in parts for route in part.router.routes}
    app.add_middleware(
        Observer, serving=serving, metrics=metrics, tracing=tracing, paths=frozenset(paths)
    )
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    serving: Serving = app.state.serving
    watch = asyncio.create_task(serving.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.to_thread(serving.close)
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close)


async def _told(request: Request, error: Any) -> Response:
    """An error as OpenAI's body."""
    if isinstance(error, RequestValidationError):
        error = invalid(error)
    elif isinstance(error, HTTPException):
        error = refused(error)
    return note_of(request).failed(error).response()

"""Whether the server lives, whether it takes requests, and its figures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from loramix.serve.reading import JsonRoute
from loramix.serve.serving import Serving

router = APIRouter(route_class=JsonRoute)


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health(request: Request) -> JSONResponse:
    """200 while the engine runs; 503 else, and then it is being replaced."""
    serving: Serving = request.app.state.serving
    alive = serving.engine.alive
    return JSONResponse({"status": "ok" if alive else "engine down"}, 200 if alive else 503)


@router.head("/ready", include_in_schema=False)
@router.get("/ready")
async def ready(request: Request) -> JSONResponse:
    """200 while requests are taken; 503 when the server is about to end."""
    serving: Serving = request.app.state.serving
    said: dict[str, Any] = {"ready": serving.ready, "waiting": serving.engine.stats().waiting}
    return JSONResponse(said, 200 if serving.ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")

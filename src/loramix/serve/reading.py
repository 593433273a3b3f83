"""A request's JSON, and what is said about one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pydantic_core
from fastapi import Request
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from loramix.serve.faults import ApiError

_OURS = ("unsupported_field", "unknown_field")
_CODES = {404: "not_found", 405: "method_not_allowed"}
_SHOWN = 300


class JsonRequest(Request):
    """A request whose JSON may be nested to a depth only, and holds no NaN."""

    async def json(self) -> Any:
        """The body; raises HTTPException."""
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"The body is no JSON that can be read: {error}") from error


class JsonRoute(APIRoute):
    """A route that reads its body as `JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await answer(JsonRequest(request.scope, request.receive))

        return read


def invalid(error: RequestValidationError) -> ApiError:
    """What is said about a body that does not fit: its first fault, or the plainest."""
    errors: Sequence[Any] = error.errors()
    first = next((item for item in errors if item["type"] in _OURS), errors[0])
    code = first["type"] if first["type"] in _OURS else "invalid_value"
    places = [str(place) for place in first["loc"] if place != "body"]
    if code in _OURS:
        places.append(str(first["ctx"]["name"]))
    param = ".".join(places)[:_SHOWN] or None
    message = str(first["msg"])[:_SHOWN]
    if first["type"] in ("model_attributes_type", "missing") and param is None:
        message = "The body is to be a JSON object, with 'content-type: application/json'."
    elif code not in _OURS and param is not None:
        message = f"{param}: {message}"
    return ApiError(400, code, message, param=param)


def refused(error: Any) -> ApiError:
    """What is said about a path that is not there, or a body that is no JSON."""
    status = int(error.status_code)
    return ApiError(status, _CODES.get(status, "invalid_request"), str(error.detail)[:_SHOWN])

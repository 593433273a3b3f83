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
from loramix.serve.guard import OPEN

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
    """A route that reads its body as `JsonRequest` does, and takes nothing from the query."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()

        async def read(request: Request) -> Response:
            surplus = next(iter(request.query_params), None)
            # probes of orchestrators may say what they like: a 400 would have the server ended
            if surplus is not None and request.scope["path"] not in OPEN:
                name = surplus[:_SHOWN]
                raise ApiError(
                    400,
                    "unknown_parameter",
                    f"There is no query parameter {name!r}. The fields of a request stand in its "
                    "JSON body.",
                    param=name,
                )
            return await answer(JsonRequest(request.scope, request.receive))

        return read


def invalid(error: RequestValidationError) -> ApiError:
    """What is said about a body that does not fit: its first fault, or the plainest."""
    errors: Sequence[Any] = error.errors()
    first = next((item for item in errors if item["type"] in _OURS), errors[0])
    places, union = _place(first, error.body)
    if first["type"] in _OURS:
        code, message = first["type"], str(first["msg"])
        places.append(str(first["ctx"]["name"]))
    else:
        code = "invalid_value"
        places, message = _alternatives(errors, first, union, error.body)
    param = _path(places)[:_SHOWN] or None
    if first["type"] in ("model_attributes_type", "missing") and param is None:
        message = "The body is to be a JSON object, with 'content-type: application/json'."
    elif code not in _OURS and param is not None:
        message = f"{param}: {message}"
    return ApiError(400, code, message[:_SHOWN], param=param)


def _place(item: Any, body: Any) -> tuple[list[str | int], int | None]:
    """Where in the body a fault is, and from where on its `loc` is about one type of several.

    Pydantic puts the names of types in between where a field may have several; those are no
    places of the body.
    """
    loc = item["loc"][1:] if item["loc"][:1] == ("body",) else item["loc"]
    places: list[str | int] = []
    union, at = None, body
    for index, name in enumerate(loc):
        if isinstance(at, dict) and name in at:
            at = at[name]
        elif isinstance(at, list) and name in range(len(at)):
            at = at[int(name)]
        elif not (item["type"] == "missing" and index == len(loc) - 1):
            union = index if union is None else union
            continue
        places.append(name)
    return places, union


def _alternatives(
    errors: Sequence[Any], first: Any, union: int | None, body: Any
) -> tuple[list[str | int], str]:
    """The place and the message of a fault; of a union's types, that which fits furthest."""
    start = len(first["loc"]) if union is None else union + (first["loc"][:1] == ("body",))
    rivals = [item for item in errors if item["loc"][:start] == first["loc"][:start]]
    found = [(_place(item, body)[0], str(item["msg"])) for item in rivals]
    places = max((places for places, _ in found), key=len)
    messages = dict.fromkeys(message for at, message in found if at == places)
    shared = "Input should be "
    return places, " or ".join(
        message if index == 0 else message.removeprefix(shared)
        for index, message in enumerate(messages)
    )


def _path(places: Sequence[str | int]) -> str:
    """`messages[0].content`."""
    parts = (f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
    return "".join(parts).removeprefix(".")


def refused(error: Any) -> ApiError:
    """What is said about a path that is not there, or a body that is no JSON."""
    status = int(error.status_code)
    return ApiError(status, _CODES.get(status, "invalid_request"), str(error.detail)[:_SHOWN])

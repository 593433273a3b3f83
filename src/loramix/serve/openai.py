"""OpenAI's interface: chat/completions, completions, models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from loramix.base import Prompt
from loramix.engine import Piece
from loramix.engine import Request as Asked
from loramix.serve.answers import Answer
from loramix.serve.bodies import Asking, ChatBody, CompletionBody
from loramix.serve.events import Departure, EventStream
from loramix.serve.faults import ApiError
from loramix.serve.observe import note_of
from loramix.serve.reading import JsonRoute
from loramix.serve.serving import AUTO, Serving
from loramix.serve.skills import models

router = APIRouter(route_class=JsonRoute)

LEFT = 499
"""The status in the log of a request whose client went away."""


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, body: ChatBody) -> Response:
    """Answer a conversation."""
    serving = serving_of(request)
    for place, message in enumerate(body.messages):
        serving.check_text(message.text, f"messages[{place}].content")
    prompt = [message.turn() for message in body.messages]
    tokens = body.max_completion_tokens or body.max_tokens
    return await _answer(
        request, body, prompt, serving.read_of(body.messages, body.route_by), tokens
    )


@router.post("/v1/completions")
async def completions(request: Request, body: CompletionBody) -> Response:
    """Answer a prompt."""
    serving_of(request).check_text(body.text, "prompt")
    return await _answer(request, body, body.text, body.text, body.max_tokens)


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """What may be asked for as `model`."""
    return {"object": "list", "data": models(serving_of(request))}


@router.get("/v1/models/{model}")
async def one_model(request: Request, model: str) -> dict[str, Any]:
    """One of them."""
    found = next((item for item in models(serving_of(request)) if item["id"] == model), None)
    if found is None:
        raise ApiError(404, "model_not_found", "There is no such model.", param="model")
    return found


def serving_of(request: Request) -> Serving:
    """What answers."""
    serving: Serving = request.app.state.serving
    return serving


async def _answer(
    request: Request,
    body: Asking,
    prompt: str | list[dict[str, str]],
    read: Prompt,
    tokens: int | None,
) -> Response:
    """Submit a request, and send its answer as it was asked for."""
    serving, note = serving_of(request), note_of(request)
    settings = serving.settings
    serving.check_open()
    note.model, note.user = body.model, body.user
    if settings.log_prompts:
        note.prompt = prompt
    tokens = tokens or settings.max_tokens
    n = body.n or 1
    if n > settings.max_n or tokens > settings.max_tokens:
        name, given, most = (
            ("n", n, settings.max_n)
            if n > settings.max_n
            else ("max_tokens", tokens, settings.max_tokens)
        )
        raise ApiError(
            400,
            "too_large",
            f"{name} is {given}, and this server allows at most {most}.",
            param=name,
        )
    mix, routing = serving.mix_of(body), None
    if mix is None and (body.router or body.policy):
        routing = (await serving.route(read, body.router, body.policy)).routing
        mix = routing.mix
    asked = Asked(
        prompt,
        AUTO if mix is None else mix,
        body.sampling(tokens),
        n=n,
        deadline=min(body.deadline or settings.deadline, settings.deadline),
        read=read,
    )
    submission = await serving.engine.asubmit(asked)
    departure = Departure(request.receive, submission)
    try:
        room = settings.max_prompt_tokens
        if room is not None and len(submission.prompt_ids) > room:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"The prompt has {len(submission.prompt_ids)} tokens, and this server allows at "
                f"most {room}.",
            )
        if routing is not None:
            submission.routing = routing
        answer = Answer(serving, body, submission)
        note.answer = answer
        batches = submission.batches()
        # until the first token any failure is a plain answer, and the mix is not known
        first = await anext(batches, None)
        if first is None:  # cancelled
            departure.close()
            return Response(status_code=LEFT)
        answer.seen_first()
        if body.stream:
            return EventStream(
                answer.chunks(_with(first, batches)),
                answer.header,
                departure,
                note.failed,
                settings.deadline,
            )
        whole = answer.whole(await submission.wait())
        await batches.aclose()
    except BaseException:
        departure.close()
        raise
    departure.close()
    if departure.gone:
        return Response(status_code=LEFT)
    return JSONResponse(whole, headers=answer.header)


async def _with(first: list[Piece], rest: AsyncIterator[list[Piece]]) -> AsyncIterator[list[Piece]]:
    yield first
    async for pieces in rest:
        yield pieces

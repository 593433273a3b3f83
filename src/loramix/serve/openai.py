"""OpenAI's interface: chat/completions, completions, models."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from loramix.base import Prompt
from loramix.engine import Request as Asked
from loramix.serve.answers import Answer
from loramix.serve.bodies import Asking, ChatBody, CompletionBody
from loramix.serve.events import Departure, EventStream
from loramix.serve.faults import ApiError
from loramix.serve.mixes import AUTO, mix_of
from loramix.serve.observe import note_of
from loramix.serve.presence import LEFT, while_there
from loramix.serve.reading import JsonRoute
from loramix.serve.serving import Serving, check_asks
from loramix.serve.skills import models

router = APIRouter(route_class=JsonRoute)


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, body: ChatBody) -> Response:
    """Answer a conversation."""
    serving = serving_of(request)
    check_asks(body.messages)
    for place, message in enumerate(body.messages):
        serving.check_text(message.text, f"messages[{place}].content")
    prompt = [message.turn() for message in body.messages]
    return await _answer(request, body, prompt, serving.read_of(body.messages, body.route_by))


@router.post("/v1/completions")
async def completions(request: Request, body: CompletionBody) -> Response:
    """Answer a prompt."""
    serving_of(request).check_text(body.text, "prompt")
    return await _answer(request, body, body.text, body.text)


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
) -> Response:
    """Submit a request, and send its answer as it was asked for."""
    serving, note = serving_of(request), note_of(request)
    settings = serving.settings
    serving.check_open()
    note.model, note.user = body.model, body.user
    if settings.log_prompts:
        note.prompt = prompt
    end = time.monotonic() + serving.deadline_of(body)
    limit, tokens = body.limit or ("max_tokens", None)
    n = body.n or 1
    for name, given, most in (("n", n, settings.max_n), (limit, tokens, settings.max_tokens)):
        if given is not None and given > most:
            raise ApiError(
                400,
                "too_large",
                f"{name} is {given}, and this server allows at most {most}.",
                param=name,
            )
    mix, routing = mix_of(serving, body), None
    if mix is None and (body.router or body.policy):
        deciding = serving.route(read, body.router, body.policy, end)
        routing = (await while_there(request.receive, deciding)).routing
        mix = routing.mix
    asked = Asked(
        prompt,
        AUTO if mix is None else mix,
        body.sampling(tokens or settings.max_tokens),
        n=n,
        deadline=max(0.001, end - time.monotonic()),
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
                param=body.asks,
            )
        context, asked_of = serving.base.max_length, len(submission.prompt_ids)
        if tokens is not None and asked_of + tokens > context:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"The context has {context} tokens, and {asked_of + tokens} were asked for: "
                f"{asked_of} of the prompt and {tokens} of the answer. Shorten the prompt, or "
                f"lower '{limit}' to {context - asked_of}; without it, the answer may have all "
                "that the context has left.",
                param=limit,
            )
        if routing is not None:
            submission.routing = routing
        answer = Answer(serving, body, submission)
        note.answer = answer
        batches = submission.batches(settings.chunk_interval)
        # until the first token any failure is a plain answer, and the mix is not known
        first = await anext(batches, None)
        if first is None:  # cancelled
            departure.close()
            return Response(status_code=LEFT)
        answer.seen_first()
        if body.stream:
            return EventStream(answer, first, batches, departure, note.failed, settings.deadline)
        whole = answer.whole(await submission.wait())
        await batches.aclose()
    except BaseException:
        departure.close()
        raise
    departure.close()
    if departure.gone:
        return Response(status_code=LEFT)
    return JSONResponse(whole, headers=answer.header)

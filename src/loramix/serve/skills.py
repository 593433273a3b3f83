"""What the library holds, and routing without an answer."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from loramix.library import Skill
from loramix.serve.bodies import RouteBody
from loramix.serve.faults import ApiError
from loramix.serve.mixes import AUTO
from loramix.serve.presence import while_there
from loramix.serve.reading import JsonRoute
from loramix.serve.serving import Serving, check_asks

router = APIRouter(route_class=JsonRoute)

BASE = "base"
EXPLAINED = 2000
"""Characters of a prompt that is explained: hundreds of shortened ones are scored."""


@router.get("/v1/skills")
async def list_skills(request: Request) -> dict[str, Any]:
    """The skills with their cards, and the mixes that the library keeps under a name."""
    serving: Serving = request.app.state.serving
    library = serving.library
    return {
        "library": library.path.name,
        "base": library.base_id,
        "generation": library.generation,
        "skills": [_card(skill) for skill in library.skills.values()],
        "mixes": {name: mix.model_dump() for name, mix in library.named_mixes.items()},
        "damaged": list(library.damaged),
        "gate": serving.can_choose(),
        "runtime_lora": serving.settings.allow_runtime_lora,
        "report": serving.report is not None,
    }


@router.post("/v1/route")
async def route(request: Request, body: RouteBody) -> dict[str, Any]:
    """The scores of a prompt and the mix that they give; nothing is generated."""
    serving: Serving = request.app.state.serving
    serving.check_open()
    end = time.monotonic() + serving.deadline_of(body)
    if body.messages is not None:
        check_asks(body.messages)
        for place, message in enumerate(body.messages):
            serving.check_text(message.text, f"messages[{place}].content")
        read = serving.read_of(body.messages, body.route_by)
    else:
        read = body.prompt or ""
        serving.check_text(read, "prompt")
    serving.check_gate(body.router)
    deciding = serving.route(read, body.router, body.policy, end)
    turn = await while_there(request.receive, deciding)
    routing, text = turn.routing, turn.text
    answer = {
        "scores": routing.scores,
        "mix": routing.mix.weights,
        "router": routing.router,
        "policy": routing.policy,
    }
    if body.why:
        if len(text) > EXPLAINED:
            raise ApiError(
                400,
                "too_large",
                f"A prompt of {len(text)} characters is not explained; at most {EXPLAINED} are.",
                param="why",
            )
        details = dict(routing.details)
        explaining = serving.why(text, body.router, end)
        details["attribution"] = asdict(await while_there(request.receive, explaining))
        answer["why"] = details
    return answer


def models(serving: Serving) -> list[dict[str, Any]]:
    """All that may be asked for as `model`, as OpenAI lists them, with vLLM's root and parent."""
    library, made = serving.library, int(serving.started)

    def item(name: str, kind: str, root: str, parent: str | None, **more: Any) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": made,
            "owned_by": "loramix",
            "root": root,
            "parent": parent,
            "max_model_len": serving.base.max_length,
            "loramix": {"kind": kind, **more},
        }

    return [
        item(AUTO, AUTO, library.base_id, None, router=serving.router_name),
        item(BASE, BASE, library.base_id, None),
        *(
            item(name, kind_of(skill), name, BASE, description=skill.card.description)
            for name, skill in library.skills.items()
        ),
        *(
            item(name, "mix", str(mix.mix), BASE, description=mix.description)
            for name, mix in library.named_mixes.items()
        ),
    ]


def kind_of(skill: Skill) -> str:
    """`expert` for what was merged of several skills, else `skill`."""
    return "expert" if "expert" in skill.card.provenance else "skill"


def _card(skill: Skill) -> dict[str, Any]:
    card = skill.card
    return {
        "name": skill.name,
        "kind": kind_of(skill),
        "description": card.description,
        "rank": card.lora.rank if card.lora else None,
        "parameters": card.lora.parameters if card.lora else None,
        "scores": card.scores,
        "examples": list(card.examples),
    }

"""`loramix route`: the scores of a prompt and the mix that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loramix.commands.session import Session
from loramix.gate import route as route_prompts


def route(
    prompt: str,
    *,
    router: str | None = None,
    policy: str | None = None,
    library: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Route one prompt; nothing is generated, and no adapter is read.

    Returns:
        scores (each skill, and `base` for none of them; they sum to 1), mix, router, policy,
        and why: `words` found by the keyword router, or `sentences` that the gate looked at.

    Raises:
        LoramixError: the library, the router, the policy or the prompt cannot be used.
    """
    session = Session(library, router=router, policy=policy, device=device, dtype=dtype)
    [routing] = route_prompts(session.router, [prompt], session.policy)
    return {
        "scores": routing.scores,
        "mix": routing.mix.weights,
        "router": routing.router,
        "policy": routing.policy,
        "why": routing.details,
    }

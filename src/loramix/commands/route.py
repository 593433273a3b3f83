"""`loramix route`: the scores of a prompt and the mix that they give."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from loramix.commands.session import Session
from loramix.gate import route as route_prompts
from loramix.gate import why as explain


def route(
    prompt: str,
    *,
    router: str | None = None,
    policy: str | None = None,
    library: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    why: bool = False,
) -> dict[str, Any]:
    """Route one prompt; nothing is generated, and no adapter is read.

    Args:
        why: also tell which words carried the decision, and the examples most like the prompt.

    Returns:
        scores (each skill, and `base` for none of them; they sum to 1), mix, router, policy,
        and why: `words` found by the keyword router, or `sentences` that the gate looked at.
        When asked, `why.attribution` has the `skill` that scored best, its `score`, its `start`
        (its score without any word), `parts` (text and credit; start and all credits sum to the
        score), and `nearest` (skill, example prompt, cosine).

    Raises:
        LoramixError: the library, the router, the policy or the prompt cannot be used.
    """
    session = Session(library, router=router, policy=policy, device=device, dtype=dtype)
    [routing] = route_prompts(session.router, [prompt], session.policy)
    details = dict(routing.details)
    if why:
        cards = {name: skill.card.examples for name, skill in session.library.skills.items()}
        details["attribution"] = asdict(explain(session.router, prompt, examples=cards))
    return {
        "scores": routing.scores,
        "mix": routing.mix.weights,
        "router": routing.router,
        "policy": routing.policy,
        "why": details,
    }

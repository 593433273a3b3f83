"""`loramix generate`: one prompt, one answer, and the mix that wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from loramix.base import check_text, encode_prompt
from loramix.commands.chat import chat
from loramix.commands.session import AUTO, Session
from loramix.generate import stream
from loramix.sampling import Sampling

__all__ = ["Sampling", "chat", "generate"]


def generate(
    prompt: str,
    *,
    mix: str = AUTO,
    sampling: Sampling | None = None,
    router: str | None = None,
    policy: str | None = None,
    library: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    write: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Answer a prompt.

    Args:
        mix, router, policy, library, device, dtype: see `Session`.
        write: gets the answer piece by piece while it is written, and a line break at its end.

    Returns:
        text, mix, usage.{prompt_tokens, completion_tokens}, finish_reason, and `context`, the most
        tokens that the base takes in all; scores, router and policy, which are None where the mix
        was given.

    Raises:
        LoramixError: as `Session` and `stream` do.
    """
    check_text(prompt)
    session = Session(library, mix=mix, router=router, policy=policy, device=device, dtype=dtype)
    choice = session.choose(prompt)
    text, tokens, finish_reason = "", 0, None
    for pieces in stream(session.mixed, session.base, [prompt], choice.mix, sampling):
        for piece in pieces:
            text, tokens, finish_reason = text + piece.text, tokens + 1, piece.finish_reason
            if write is not None and piece.text:
                write(piece.text)
    if write is not None and not text.endswith("\n"):
        write("\n")
    return {
        "text": text,
        **choice.report(),
        "usage": {
            "prompt_tokens": len(encode_prompt(session.base, prompt)),
            "completion_tokens": tokens,
        },
        "finish_reason": finish_reason,
        "context": session.base.max_length,
    }

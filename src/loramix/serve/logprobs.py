"""Logarithms of probabilities, as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loramix.base import Base
from loramix.sampling import Logprobs

Token = tuple[int, Logprobs | None]
"""A token, and what is reported of it."""

LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have."""


def chat_logprobs(tokens: Sequence[Token], base: Base) -> dict[str, Any]:
    """`choices[].logprobs` of a chat."""
    content = []
    for chosen, report in tokens:
        if report is None or chosen in base.eos_ids:
            continue
        entry = _entry(chosen, report.chosen, base)
        entry["top_logprobs"] = [_entry(token, value, base) for token, value in report.top]
        content.append(entry)
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Token], base: Base, start: int = 0) -> dict[str, Any]:
    """`choices[].logprobs` of a completion.

    Args:
        start: characters of the completion before these tokens.
    """
    texts, values, tops, offsets = [], [], [], []
    for chosen, report in tokens:
        if report is None or chosen in base.eos_ids:
            continue
        text = _text(chosen, base)
        texts.append(text)
        values.append(max(report.chosen, LOWEST))
        tops.append({_text(other, base): max(value, LOWEST) for other, value in report.top})
        offsets.append(start)
        start += len(text)
    return {
        "tokens": texts,
        "token_logprobs": values,
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }


def _entry(token: int, value: float, base: Base) -> dict[str, Any]:
    text = _text(token, base)
    whole = "\ufffd" not in text  # a token that is a part of a character has no text of its own
    return {
        "token": text,
        "logprob": max(value, LOWEST),
        "bytes": list(text.encode()) if whole else None,
    }


def _text(token: int, base: Base) -> str:
    return str(base.tokenizer.decode([token], clean_up_tokenization_spaces=False))

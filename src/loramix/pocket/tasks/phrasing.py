"""Puts a request and the text it is about together, as people do: before, after, around."""

from __future__ import annotations

import random
from collections.abc import Sequence

from loramix.pocket.words import Split, pool

SOFTENERS = ("", "", "", "", "Please ", "Can you ", "Could you ", "I need you to ", "Would you ")


def request(rng: random.Random, split: Split, patterns: Sequence[str], **slots: str) -> str:
    """One request from the patterns of `split`; `[a/b/c]` in a pattern is a choice."""
    text = rng.choice(pool(patterns, split))
    while "[" in text:
        head, _, rest = text.partition("[")
        options, _, tail = rest.partition("]")
        text = head + rng.choice(options.split("/")) + tail
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    if text[0] == "~":  # an imperative, which may be asked more softly
        softener = rng.choice(SOFTENERS)
        body = text[1:]
        text = softener + (body[0].lower() + body[1:] if softener else body)
        if softener.startswith(("Can", "Could", "Would")) and rng.random() < 0.7:
            text = text.rstrip(".:") + "?"
    return vary(rng, text)


def vary(rng: random.Random, text: str) -> str:
    """Small habits of typing: no capital at the start, no full stop, or none of these."""
    habit = rng.random()
    if habit < 0.08:
        return text[0].lower() + text[1:]
    if habit < 0.14:
        return text.rstrip(".:?")
    return text


def around(rng: random.Random, ask: str, text: str) -> str:
    """The request before or after the text."""
    habit = rng.random()
    if habit < 0.35:
        return f"{ask.rstrip('.:?')}: {text}"
    if habit < 0.55:
        return f"{ask}\n{text}"
    if habit < 0.65:
        return f"{ask} {text}" if ask[-1] in ".:?" else f"{ask}: {text}"
    if habit < 0.75:
        return f'{ask}\n"{text}"'
    if habit < 0.9:
        return f"{text}\n{ask}"
    return f"{text} {ask}"

"""Logarithms of probabilities, as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from loramix.base import Base
from loramix.detokenize import Detokenizer
from loramix.sampling import Logprobs

Token = tuple[int, Logprobs | None]
"""A token, and what is reported of it."""

LOWEST = -9999.0
"""What stands for minus infinity, which JSON does not have."""


class Spelled(NamedTuple):
    """A token, and which characters of its completion it writes."""

    start: int
    end: int
    token: Token


class Shown:
    """Which tokens of a completion stand in the text that was given out.

    Those of a stop text do not, nor those that may yet become one. A token whose first half only
    is given out does.
    """

    def __init__(self, base: Base) -> None:
        self._text = Detokenizer(base.tokenizer)
        self._held: list[Spelled] = []
        self._written = self._given = 0

    def add(self, token: Token) -> None:
        """One more token."""
        start = self._written
        self._written += len(self._text.push(token[0]))
        self._held.append(Spelled(start, self._written, token))

    def give(self, text: str, last: bool) -> list[Spelled]:
        """The tokens that `text`, which is given out now, brings with it.

        Args:
            last: whether nothing follows.
        """
        self._given += len(text)
        if last:
            whole = self._written + len(self._text.finish()) <= self._given
            given = [one for one in self._held if whole or one.start < self._given]
            self._held = []
            return given
        # a token without characters of its own begins one that a later token ends
        ends = [i for i, one in enumerate(self._held) if one.start < one.end <= self._given]
        count = ends[-1] + 1 if ends else 0
        given, self._held = self._held[:count], self._held[count:]
        return given


def chat_logprobs(tokens: Sequence[Spelled], base: Base) -> dict[str, Any]:
    """`choices[].logprobs` of a chat."""
    content = []
    for _, _, (chosen, report) in tokens:
        if report is None or chosen in base.eos_ids:
            continue
        entry = _entry(chosen, report.chosen, base)
        entry["top_logprobs"] = [_entry(token, value, base) for token, value in report.top]
        content.append(entry)
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Spelled], base: Base) -> dict[str, Any]:
    """`choices[].logprobs` of a completion."""
    texts, values, tops, offsets = [], [], [], []
    for start, _, (chosen, report) in tokens:
        if report is None or chosen in base.eos_ids:
            continue
        texts.append(_text(chosen, base))
        values.append(max(report.chosen, LOWEST))
        tops.append({_text(other, base): max(value, LOWEST) for other, value in report.top})
        offsets.append(start)
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

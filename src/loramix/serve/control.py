"""What opens another role's turn for a base, and so must not stand in a text of a client.

Those are the special tokens of the tokenizer, and what the chat template writes around contents as
plain text: `<|user|>` of TinyLlama, `[INST]` of Llama 2, `### Response:`, `ASSISTANT:`. The latter
are found by having the template write a conversation and looking at what it put in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from loramix.base import Base

_ROLES = ("system", "user", "assistant", "user")
_CONTENT = re.compile(r"content\dof\dturns")
_BRACKETED = re.compile(r"(<+[^<>]*\w[^<>]*>+|\[+[^][]*\w[^][]*\]+)")


class Control:
    """The control texts of a base.

    Args:
        base: whose tokenizer and template are asked.
    """

    def __init__(self, base: Base) -> None:
        tokenizer: Any = base.tokenizer
        added = tokenizer.added_tokens_decoder.values()
        special = {str(token) for token in added if token.special}
        special = {token for token in special | set(tokenizer.all_special_tokens) if token}
        by_length = sorted(special, key=len, reverse=True)  # the longest that fits is told
        patterns = [*map(re.escape, by_length), *dict.fromkeys(_marks(tokenizer, by_length))]
        self._pattern = re.compile("|".join(patterns), re.MULTILINE) if patterns else None
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._normalizer = getattr(backend, "normalizer", None)

    def find(self, text: str) -> str | None:
        """A control text in `text`, as it is or as the tokenizer will see it; None without any."""
        if self._pattern is None:
            return None
        found = self._pattern.search(text)
        if found is None and self._normalizer is not None:  # it may fold letters into a mark's
            found = self._pattern.search(self._normalizer.normalize_str(text))
        return found and found.group().strip()


def _marks(tokenizer: Any, special: list[str]) -> Iterator[str]:
    """Patterns for what the template writes literally around contents.

    What stands in brackets is a mark by itself, and so are other words of a line that have a sign
    among them. Plain words (`user`) say nothing by themselves: they are a mark where they fill a
    line and no special token, which is refused anyway, stands with them.
    """
    tokens = re.compile("|".join(map(re.escape, special))) if special else None
    for piece in _pieces(tokenizer):
        left = tokens.sub("\n", piece) if tokens is not None else piece
        for line in left.splitlines():
            for place, part in enumerate(_BRACKETED.split(line)):
                words = part.split()
                if words and (place % 2 or re.search(r"[^\w\s]", part)):
                    yield _spelled(words)
                elif words and left == piece:
                    yield rf"^[^\S\n]*{_spelled(words)}[^\S\n]*$"


def _spelled(words: list[str]) -> str:
    """A pattern for words that stand by themselves, however they are spaced."""
    text = r"\s+".join(map(re.escape, words))
    before = r"(?<!\w)" if words[0][0].isalnum() else ""
    return before + text + (r"(?!\w)" if words[-1][-1].isalnum() else "")


def _pieces(tokenizer: Any) -> list[str]:
    """What the template writes around the contents of a conversation; none without a template."""
    if not tokenizer.chat_template:
        return []
    for roles in (_ROLES, _ROLES[1:]):  # some templates take no system text
        turns = [
            {"role": role, "content": f"content{place}of{len(roles)}turns"}
            for place, role in enumerate(roles)
        ]
        try:
            written = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False
            )
        except Exception:  # of jinja, for turns that it does not take
            continue
        head, *pieces = _CONTENT.split(written)
        # The head may hold a text for everybody, such as a date: what opens a turn is its end.
        return [*head.strip().splitlines()[-1:], *pieces] if roles is _ROLES else pieces
    return []

"""Token ids to text while they come in.

A token of a byte-level vocabulary can end inside a character, so a piece of text is given out
only when its characters are whole; and the beginning of a stop text must not be shown before it
is clear that it does not become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BROKEN = "\ufffd"


class Detokenizer:
    """The text of one completion, piece by piece.

    The pieces joined are the decoded completion, cut before the first stop text. One thing may
    differ: a tokenizer with byte fallback shows all bytes of a run as broken if some are, and here
    the characters of the run that were given out whole stay.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        # ids[_start:_shown] have been given out, and are decoded again with what follows: some
        # tokenizers write a token differently at the start of a text. So there is text in them
        self._start = 0
        self._shown = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character or a stop text may go on."""
        self._ids.append(token)
        return self._release(self._fresh(final=False), final=False)

    def finish(self) -> str:
        """The rest, once no token follows: broken characters as U+FFFD."""
        return self._release(self._fresh(final=True), final=True)

    def _fresh(self, final: bool) -> str:
        shown = self._decode(self._ids[self._start : self._shown])
        text = self._decode(self._ids[self._start :])
        if text.endswith(_BROKEN) and not final:
            return ""
        if text.startswith(shown):
            fresh = text[len(shown) :]
        else:  # bytes that came later broke the run; what was given out cannot be taken back
            fresh = self._decode(self._ids[self._shown :])
        if fresh:  # else the token is nothing to see, as a special one is
            self._start = self._shown
        self._shown = len(self._ids)
        return fresh

    def _release(self, text: str, final: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        ends = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        keep = 0 if final else max((_overlap(text, stop) for stop in self._stop), default=0)
        cut = len(text) - keep
        self._held = text[cut:]
        return text[:cut]

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text if isinstance(text, str) else "".join(text)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0

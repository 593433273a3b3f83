"""One completion on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramix.detokenize import Detokenizer
from loramix.engine.request import Piece, Submission
from loramix.engine.residency import Resolved
from loramix.sampling import Draw, Logprobs

if TYPE_CHECKING:
    from loramix.base import Base


class Row:
    """One completion on its way: waiting, or in a slot.

    Args:
        submission: whose completion it is.
        index: which of them.
        base: whose tokenizer spells it.
        context: tokens of prompt and completion together.

    Attributes:
        tokens: prompt and completion so far.
        filled: how many of them have keys and values in the slot.
        room: how many tokens the completion may have.
        resolved: its mix by the names of the adapters in memory, which it holds while it runs.
        root: of its blocks in the prefix cache; None where it does not use it.
        slot: where it runs; None while it waits and once it has left.
        twin: another row of the request, whose prompt need not be computed again.
        gone: whether it needs nothing more: finished, failed or cancelled.
    """

    def __init__(self, submission: Submission, index: int, base: Base, context: int) -> None:
        self.submission, self.index = submission, index
        self.sampling = submission.request.sampling
        self.prompt = len(submission.prompt_ids)
        self.tokens = list(submission.prompt_ids)
        self.filled = 0
        self.room = min(self.sampling.max_new_tokens, context - self.prompt)
        # thousands may wait, and a generator takes 5 kB
        self.generator = None if self.sampling.greedy else self.sampling.generator(index)
        self.resolved = Resolved({}, {})
        self.root: bytes | None = None
        self.slot: int | None = None
        self.twin: Row | None = None
        self.gone = False
        self._text = Detokenizer(base.tokenizer, self.sampling.stop)
        self._ends = {*base.eos_ids, *self.sampling.stop_tokens}

    @property
    def need(self) -> int:
        """The most tokens that it will keep: its last one is never fed."""
        return self.prompt + self.room - 1

    @property
    def pending(self) -> int:
        """How many tokens it has yet to feed; a decoding row has one."""
        return len(self.tokens) - self.filled

    @property
    def draw(self) -> Draw:
        """What choosing its next token needs."""
        return Draw(self.sampling, self.generator, self.tokens, self.prompt)

    def take(self, token: int, logprobs: Logprobs | None) -> Piece:
        """Append a token, and see whether it is the last."""
        self.tokens.append(token)
        text, reason = self._text.push(token), None
        if token in self._ends or self._text.stopped:
            reason = "stop"
        elif len(self.tokens) - self.prompt == self.room:
            reason = "length"
        if reason is not None:
            text += self._text.finish()
            if self._text.stopped:
                reason = "stop"
        return Piece(self.index, token, text, reason, logprobs)

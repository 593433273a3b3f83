"""From a submission to a body, or to the chunks of a stream.

Both are made from the same pieces. A chunk holds all that has come since the last one, so that a
server with much to do sends fewer of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loramix.engine import Completion, Piece, Submission
from loramix.mix import Mix
from loramix.serve.bodies import Asking, ChatBody
from loramix.serve.logprobs import Shown, Spelled, chat_logprobs, completion_logprobs
from loramix.serve.serving import Serving, new_id

DONE = "data: [DONE]\n\n"


@dataclass
class Answer:
    """One request on its way.

    Attributes:
        serving, body, submission: what answers what, and how.
        chat: whether it is a chat; else a completion.
        first: seconds from the submission to the first token.
    """

    serving: Serving
    body: Asking
    submission: Submission
    first: float | None = None

    def __post_init__(self) -> None:
        self.chat = isinstance(self.body, ChatBody)
        self.id = new_id("chatcmpl" if self.chat else "cmpl")
        self.created = int(time.time())
        self.begun = [False] * self.submission.request.n
        wanted = self.body.alternatives is not None
        self._shown = [Shown(self.serving.base) for _ in self.begun] if wanted else []
        self.tokens = 0
        self._open = self.submission.request.n
        self._head = self._tail = ""
        self.texts = [""] * self.submission.request.n if self.serving.settings.log_prompts else None
        self.reasons: list[str | None] = [None] * self.submission.request.n

    @property
    def header(self) -> dict[str, str]:
        """Of the response; the mix is known by then."""
        return {"x-loramix-mix": str(self.submission.mix or Mix.base())}

    def seen_first(self) -> None:
        """The first token is there."""
        if self.first is None:
            self.first = time.monotonic() - self.submission.submitted

    def report(self) -> dict[str, Any]:
        """What was used: `loramix` in the body."""
        submission = self.submission
        routing, mix = submission.routing, submission.mix
        return {
            "mix": dict(mix.weights) if mix is not None else None,
            "scores": None if routing is None else dict(routing.scores),
            "router": None if routing is None else routing.router,
            "policy": None if routing is None else routing.policy,
            "seconds": {
                "gate": round(submission.gate_seconds, 6),
                "first_token": None if self.first is None else round(self.first, 6),
                "total": round(time.monotonic() - submission.submitted, 6),
            },
        }

    def usage(self, tokens: int) -> dict[str, int]:
        """OpenAI's `usage`."""
        prompt = len(self.submission.prompt_ids)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "total_tokens": prompt + tokens,
        }

    # ── one body ─────────────────────────────────────────────────────────────────────────────

    def whole(self, done: Sequence[Completion]) -> dict[str, Any]:
        """The body of a request that is not streamed."""
        self.tokens = sum(completion.completion_tokens for completion in done)
        choices = []
        for index, completion in enumerate(done):
            self.reasons[index] = completion.finish_reason
            if self.texts is not None:
                self.texts[index] = completion.text
            choice: dict[str, Any] = {"index": index}
            if self.chat:
                choice["message"] = {
                    "role": "assistant",
                    "content": completion.text,
                    "refusal": None,
                }
            else:
                choice["text"] = completion.text
            reports = completion.logprobs or ()
            shown = Shown(self.serving.base)
            for token in zip(completion.token_ids, reports, strict=False):
                shown.add(token)
            choice["logprobs"] = self._logprobs(shown.give(completion.text, last=True))
            choice["finish_reason"] = completion.finish_reason
            choices.append(choice)
        return {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": self.serving.fingerprint,
            "choices": choices,
            "usage": self.usage(self.tokens),
            "loramix": self.report(),
        }

    # ── a stream ─────────────────────────────────────────────────────────────────────────────

    def events(self, pieces: Sequence[Piece]) -> bytes:
        """Server-sent events of what has come since the last call; may be empty.

        The last chunk before `[DONE]` says what was used.
        """
        if not self._head:
            self._begin()
        by_row: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_row.setdefault(piece.row, []).append(piece)
        events = []
        for row, own in by_row.items():
            self.tokens += len(own)
            reason = own[-1].finish_reason
            self._open -= reason is not None
            last = self.ended and not self.body.include_usage
            events.append(self._chunk(row, own, reason, last))
        if self.ended:
            if self.body.include_usage:
                usage = json.dumps(self.usage(self.tokens))
                events.append(f'{self._head}],{self._loramix()},"usage":{usage}}}\n\n')
            events.append(DONE)
        return "".join(events).encode()

    @property
    def ended(self) -> bool:
        """Whether all that is streamed has been told."""
        return not self._open

    def _begin(self) -> None:
        head = {
            "id": self.id,
            "object": "chat.completion.chunk" if self.chat else "text_completion",
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": self.serving.fingerprint,
        }
        text = json.dumps(head)[:-1]
        self._head = f'data: {text}, "choices":['
        self._tail = ',"usage":null}\n\n' if self.body.include_usage else "}\n\n"

    def _loramix(self) -> str:
        return f'"loramix":{json.dumps(self.report())}'

    def _chunk(self, row: int, pieces: Sequence[Piece], reason: str | None, last: bool) -> str:
        """One event for one choice; empty where there is nothing to tell yet."""
        text = "".join(piece.text for piece in pieces)
        begins = not self.begun[row]
        tokens: list[Spelled] = []
        logprobs = ""
        if self.body.alternatives is not None:
            for piece in pieces:
                self._shown[row].add((piece.token_id, piece.logprobs))
            tokens = self._shown[row].give(text, last=reason is not None)
            logprobs = f',"logprobs":{json.dumps(self._logprobs(tokens) if tokens else None)}'
        if not text and not tokens and not begins and reason is None:
            return ""
        self.begun[row] = True
        self.reasons[row] = reason
        if self.texts is not None:
            self.texts[row] += text
        if self.chat:
            role = '"role":"assistant",' if begins else ""
            said = f'"delta":{{{role}"content":{json.dumps(text)}}}'
        else:
            said = f'"text":{json.dumps(text)}'
        end = "null" if reason is None else f'"{reason}"'
        report = f",{self._loramix()}" if last else ""
        return (
            f'{self._head}{{"index":{row},{said}{logprobs},"finish_reason":{end}}}]'
            f"{report}{self._tail}"
        )

    def _logprobs(self, tokens: Sequence[Spelled]) -> dict[str, Any] | None:
        if self.body.alternatives is None:
            return None
        make = chat_logprobs if self.chat else completion_logprobs
        return make(tokens, self.serving.base)

"""Write completions: a batch of prompts, each with a mix of its own.

    for pieces in stream(mixed, base, ["a prompt", "another"], [Mix.parse("math"), Mix.base()]):
        for row, token_id, text, finish_reason in pieces: ...

`stream` is the one generator of tokens; `generate` drains it. It is a plain loop over the Hugging
Face model: left-padded batch, KV cache, a row that ends leaves the batch. The cache is made for
the mixes of the call and dies with it: keys and values belong to the mix that made them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from loramix.base import Base, Prompt, check_prompt, device_failed
from loramix.detokenize import Detokenizer
from loramix.errors import UsageError
from loramix.mix import Mix, check_skills, weight_matrix
from loramix.sampling import Sampling, choose

if TYPE_CHECKING:
    from loramix.mixed import MixedModel

__all__ = ["Completion", "Piece", "Sampling", "generate", "stream"]


class Piece(NamedTuple):
    """What one step adds to one row.

    Attributes:
        row: index of the prompt in the call.
        token_id: the token that was chosen.
        text: what can be shown now; may be empty, see `Detokenizer`.
        finish_reason: None while the row goes on; `stop` after the end-of-text token or a stop
            text, `length` when no further token was allowed or fitted into the context.
    """

    row: int
    token_id: int
    text: str
    finish_reason: str | None


@dataclass(frozen=True)
class Completion:
    """A finished completion.

    Attributes:
        text: without the stop text.
        prompt_tokens: after the chat template.
        completion_tokens: that were computed, end-of-text included.
        finish_reason: `stop` or `length`.
        token_ids: the completion's tokens.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    token_ids: tuple[int, ...]


@dataclass
class _Row:
    """A row on its way."""

    index: int
    prompt: list[int]
    mix: Mix
    room: int
    generator: torch.Generator
    text: Detokenizer
    out: list[int] = field(default_factory=list)
    finish_reason: str | None = None

    def take(self, token: int, eos_ids: Sequence[int]) -> Piece:
        """Append a token, and see whether it is the last."""
        self.out.append(token)
        text = self.text.push(token)
        if token in eos_ids or self.text.stopped:
            self.finish_reason = "stop"
        elif len(self.out) == self.room:
            self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self.text.finish()
            if self.text.stopped:
                self.finish_reason = "stop"
        return Piece(self.index, token, text, self.finish_reason)


def stream(
    mixed: MixedModel | None,
    base: Base,
    prompts: Sequence[Prompt],
    mixes: Sequence[Mix] | Mix,
    sampling: Sampling | None = None,
    system: str | None = None,
) -> Iterator[list[Piece]]:
    """Write completions token by token; each item holds one piece for each unfinished row.

    Args:
        mixed: the base with its adapters; None where every mix is the base alone.
        base: what it was made from.
        prompts: texts, or conversations.
        mixes: one for each prompt, or one for all.
        system: a system text before each prompt.

    Raises, before the first token:
        PromptError: a prompt is empty or fills the context.
        UnknownSkillError: a mix holds a skill that `mixed` does not.
    """
    sampling = sampling or Sampling()
    rows = _rows(mixed, base, prompts, mixes, sampling, system)
    return _run(mixed, base, rows, sampling)


def generate(
    mixed: MixedModel | None,
    base: Base,
    prompts: Sequence[Prompt],
    mixes: Sequence[Mix] | Mix,
    sampling: Sampling | None = None,
    batch_size: int = 16,
    system: str | None = None,
) -> list[Completion]:
    """Write completions for any number of prompts, at most `batch_size` rows at a time.

    Arguments and errors as for `stream`. Prompts of like length run together, since padding
    costs time; the answers come in the order of the prompts.
    """
    if batch_size < 1:
        raise UsageError("batch_size is out of range.", given=batch_size, expected="at least 1")
    sampling = sampling or Sampling()
    rows = _rows(mixed, base, prompts, mixes, sampling, system)
    texts = [""] * len(rows)
    by_length = sorted(rows, key=lambda row: len(row.prompt))
    for start in range(0, len(rows), batch_size):
        for pieces in _run(mixed, base, by_length[start : start + batch_size], sampling):
            for piece in pieces:
                texts[piece.row] += piece.text
    return [
        Completion(
            text=texts[row.index],
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.out),
            finish_reason=row.finish_reason or "length",
            token_ids=tuple(row.out),
        )
        for row in rows
    ]


def _rows(
    mixed: MixedModel | None,
    base: Base,
    prompts: Sequence[Prompt],
    mixes: Sequence[Mix] | Mix,
    sampling: Sampling,
    system: str | None,
) -> list[_Row]:
    """Check all that can be checked before any work is done."""
    if isinstance(prompts, str):
        raise UsageError("Prompts come as a list.", given="one text", expected="[text, …]")
    each = [mixes] * len(prompts) if isinstance(mixes, Mix) else list(mixes)
    if len(each) != len(prompts):
        raise UsageError(
            "There is not one mix for each prompt.",
            given=f"{len(prompts)} prompts, {len(each)} mixes",
        )
    known = mixed.names if mixed is not None else ()
    for mix in each:
        check_skills(mix, known)
    rows = []
    for index, (prompt, mix) in enumerate(zip(prompts, each, strict=True)):
        ids = check_prompt(base, prompt, system=system)
        rows.append(
            _Row(
                index=index,
                prompt=ids,
                mix=mix,
                room=min(sampling.max_new_tokens, base.max_length - len(ids)),
                generator=sampling.generator(index),
                text=Detokenizer(base.tokenizer, sampling.stop),
            )
        )
    return rows


def _run(
    mixed: MixedModel | None, base: Base, rows: Sequence[_Row], sampling: Sampling
) -> Iterator[list[Piece]]:
    """Decode until all rows are done; go on with the CPU where the accelerator fails."""
    active = list(rows)
    while active:
        try:
            yield from _decode(mixed, base, active, sampling)
        except Exception as error:
            if base.device.type == "cpu" or not device_failed(error):
                raise
            base.to_cpu(error)
            if mixed is not None:
                mixed.to(base.device)
        # after a failure, rows go on from prompt and tokens so far, which fill a new cache
        active = [row for row in active if row.finish_reason is None]


def _decode(
    mixed: MixedModel | None, base: Base, rows: Sequence[_Row], sampling: Sampling
) -> Iterator[list[Piece]]:
    """One prefill, then one step a token, until every row has ended."""
    active = list(rows)
    forward = _Forward(mixed, base, active)
    ids, mask = _left_padded([row.prompt + row.out for row in active], base)
    cache: Any = None
    while True:
        with torch.inference_mode():
            logits, cache = forward(ids, mask, cache)
            tokens = choose(logits, sampling, [row.generator for row in active])
        yield [row.take(token, base.eos_ids) for row, token in zip(active, tokens, strict=True)]
        stay = [place for place, row in enumerate(active) if row.finish_reason is None]
        if not stay:
            return
        ids = torch.tensor([[tokens[place]] for place in stay], device=base.device)
        with torch.inference_mode():
            if len(stay) < len(active):
                kept = torch.tensor(stay, device=base.device)
                active = [active[place] for place in stay]
                cache.batch_select_indices(kept)
                mask = mask[kept]
                forward = _Forward(mixed, base, active)
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)


class _Forward:
    """The mixed forward for the rows of a batch: logits [B, V] of the last place, and the cache."""

    def __init__(self, mixed: MixedModel | None, base: Base, rows: Sequence[_Row]) -> None:
        self.model = base.model
        names = sorted({name for row in rows for name in row.mix.weights})
        self.scope: AbstractContextManager[Any] = contextlib.nullcontext()
        if mixed is not None and names:
            weights = weight_matrix([row.mix for row in rows], names, device=base.device)
            self.scope = mixed.using(weights, names)
        takes = inspect.signature(base.model.forward).parameters
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.positions = "position_ids" in takes

    def __call__(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        more: dict[str, Any] = dict(self.last_only)
        if self.positions:
            # what stands left of a row does not count: each row begins at place 0
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            more["position_ids"] = places[:, -ids.shape[1] :]
        with self.scope:
            out = self.model(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more
            )
        return out.logits[:, -1], out.past_key_values


def _left_padded(contexts: Sequence[Sequence[int]], base: Base) -> tuple[Tensor, Tensor]:
    """Ids and mask, both [B, T] int64."""
    longest = max(len(context) for context in contexts)
    ids = [[base.pad_id] * (longest - len(c)) + list(c) for c in contexts]
    mask = [[0] * (longest - len(c)) + [1] * len(c) for c in contexts]
    return torch.tensor(ids, device=base.device), torch.tensor(mask, device=base.device)

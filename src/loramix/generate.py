"""Write completions: a batch of prompts, each with a mix of its own.

    for pieces in stream(mixed, base, ["a prompt", "another"], [Mix.parse("math"), Mix.base()]):
        for piece in pieces: ...

`stream` drains an engine that lives as long as the call, and `generate` drains the same: keys and
values belong to the mixes of the call and die with it. There is no thread and no queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loramix.base import Base, Prompt
from loramix.engine.engine import Engine
from loramix.engine.request import Completion, Piece, Request, Submission
from loramix.engine.scheduler import Limits
from loramix.errors import ForwardError, UsageError
from loramix.mix import Mix
from loramix.sampling import Sampling

if TYPE_CHECKING:
    from loramix.mixed import MixedModel

__all__ = ["Completion", "Piece", "Sampling", "generate", "stream"]

_ANY = 1 << 62
"""No limit of bytes or tokens: the caller chose how much runs at once."""


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
        UnsupportedBaseError: the engine cannot run this base.
    """
    rows = max(1, len(prompts))
    engine, handles = _submit(mixed, base, prompts, mixes, sampling, system, rows)
    return _pieces(engine, handles)


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

    Arguments and errors as for `stream`. A prompt begins as soon as a row is free.
    """
    if batch_size < 1:
        raise UsageError("batch_size is out of range.", given=batch_size, expected="at least 1")
    engine, handles = _submit(mixed, base, prompts, mixes, sampling, system, batch_size)
    for _ in _pieces(engine, handles):
        pass
    return [completion for handle in handles for completion in handle.result()]


def _submit(
    mixed: MixedModel | None,
    base: Base,
    prompts: Sequence[Prompt],
    mixes: Sequence[Mix] | Mix,
    sampling: Sampling | None,
    system: str | None,
    rows: int,
) -> tuple[Engine, list[Submission]]:
    """An engine of the call's own with all of its requests; what can be checked is checked."""
    if isinstance(prompts, str):
        raise UsageError("Prompts come as a list.", given="one text", expected="[text, …]")
    each = [mixes] * len(prompts) if isinstance(mixes, Mix) else list(mixes)
    if len(each) != len(prompts):
        raise UsageError(
            "There is not one mix for each prompt.",
            given=f"{len(prompts)} prompts, {len(each)} mixes",
        )
    limits = Limits(
        max_rows=rows, cache_bytes=_ANY, prefix_bytes=0, chunk_tokens=_ANY, prompt_tokens=_ANY
    )
    engine = Engine(base, mixed, limits=limits)
    own = sampling or Sampling()
    handles = []
    for index, (prompt, mix) in enumerate(zip(prompts, each, strict=True)):
        seed = None if own.seed is None else own.seed + index
        request = Request(prompt, mix, replace(own, seed=seed), system)
        handles.append(engine.submit(request))
    return engine, handles


def _pieces(engine: Engine, handles: Sequence[Submission]) -> Iterator[list[Piece]]:
    """Run steps until all rows are done; what the model raises is raised here as it is."""
    index = {handle: row for row, handle in enumerate(handles)}
    try:
        while engine.busy:
            pieces = [piece._replace(row=index[handle]) for handle, piece in engine.step()]
            if engine.failed:
                error = next(handle.error for handle in handles if handle.error is not None)
                if isinstance(error, ForwardError) and error.__cause__ is not None:
                    raise error.__cause__
                raise error
            if pieces:
                yield pieces
    finally:
        engine.close()  # no skill stays below the base's weights

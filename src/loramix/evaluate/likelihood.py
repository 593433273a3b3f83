"""How likely texts are under a mix: one mixed forward for rows of different mixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from loramix.base import Base
from loramix.mix import Mix, weight_matrix
from loramix.mixed import MixedModel

_LOGIT_BYTES = 256 << 20


class Row(NamedTuple):
    """Token ids, of which those from `start` on are rated, each after all before it; start ≥ 1."""

    ids: Sequence[int]
    start: int
    mix: Mix


class Likelihood(NamedTuple):
    """Of the rated tokens: log of their probability, and whether each is the likeliest."""

    logprob: float
    tokens: int
    greedy: bool


def likelihoods(
    mixed: MixedModel, base: Base, rows: Sequence[Row], batch_size: int = 32
) -> list[Likelihood]:
    """One for each row, in order; see `rate_all`."""
    found = dict(rate_all(mixed, base, rows, batch_size))
    return [found[place] for place in range(len(rows))]


def rate_all(
    mixed: MixedModel, base: Base, rows: Sequence[Row], batch_size: int = 32
) -> Iterator[tuple[int, Likelihood]]:
    """(place, likelihood) of all rows as they come. The last token of a row is not read, so that a
    row may be one token longer than the context.

    Args:
        mixed: the base with its skills.
        base: what it was made from.
        rows: what is rated.
        batch_size: rows of a forward, at most; fewer where the logits would take too much memory.
    """
    embeddings: Any = base.model.get_input_embeddings()
    vocabulary = int(embeddings.weight.shape[0])
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    while order:
        longest = len(rows[order[-1]].ids)
        count = max(1, min(batch_size, _LOGIT_BYTES // (4 * vocabulary * max(1, longest))))
        places, order = order[-count:], order[:-count]
        yield from zip(places, _rate(mixed, base, [rows[i] for i in places]), strict=True)


@torch.inference_mode()
def _rate(mixed: MixedModel, base: Base, rows: Sequence[Row]) -> list[Likelihood]:
    # the last token is rated and never read; right padding needs no mask, since no token sees it
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[base.pad_id] * (width - len(row.ids))] for row in rows])
    ids = ids.to(base.device)
    names = sorted({name for row in rows for name in row.mix.weights})
    call: Any = mixed
    weights = weight_matrix([row.mix for row in rows], names, device=base.device)
    chosen = {"mix_weights": weights, "mix_names": names} if names else {}
    logits = call(input_ids=ids[:, :-1], use_cache=False, **chosen).logits
    shown = []
    for row, each, own in zip(rows, logits, ids, strict=True):
        some = each[row.start - 1 : len(row.ids) - 1].float()
        wanted = own[row.start : len(row.ids)]
        logs = some.log_softmax(-1).gather(-1, wanted[:, None])
        greedy = bool((some.argmax(-1) == wanted).all())
        shown.append(Likelihood(float(logs.sum()), len(wanted), greedy))
    return shown

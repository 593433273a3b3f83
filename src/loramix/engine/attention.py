"""Attention over the slots, through the attention interface of transformers.

A step feeds the tokens of all rows as one packed batch [N, 1]: first one token of each decoding
row, then the chunks of prompts, token by token. There is no padding, and every layer but
attention sees tokens alone. Attention is told by a `Plan` which token belongs to which slot.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from loramix.engine.cache import KeyValueStore, LayerCache
from loramix.engine.support import unsupported

NAME = "loramix"
_FOREIGN = ("s_aux", "sinks", "position_bias", "head_mask", "alibi", "cache")
_running = threading.local()


class Chunk(NamedTuple):
    """The tokens start:stop of the batch, which are first:last of the row in `slot`."""

    start: int
    stop: int
    slot: int
    first: int
    last: int


class Plan:
    """Which token of a packed batch belongs where.

    Args:
        lengths: tokens of each decoding row, its new one included; row i stands in slot i.
        chunks: the other tokens.
        device: of the model.

    Attributes:
        slots, places: [N] int64, where each token's keys and values go.
        end: places of the longest row.
    """

    def __init__(
        self, lengths: Sequence[int], chunks: Sequence[Chunk], device: torch.device
    ) -> None:
        self.lengths, self.chunks, self.device = lengths, chunks, device
        self.decoding = len(lengths)
        self.longest = max(lengths, default=0)
        self.end = max([self.longest, *(chunk.last for chunk in chunks)])
        slots = [*range(len(lengths))]
        places = [length - 1 for length in lengths]
        for chunk in chunks:
            slots += [chunk.slot] * (chunk.last - chunk.first)
            places += range(chunk.first, chunk.last)
        self.slots = torch.tensor(slots, device=device)
        self.places = torch.tensor(places, device=device)
        self._masks: dict[Any, Tensor | None] = {}

    def decode_mask(self, window: int | None, dtype: torch.dtype) -> tuple[int, Tensor | None]:
        """The first place that some decoding row sees, and what to add to its scores.

        Returns:
            place, and [n, 1, 1, longest - place] in `dtype`: 0, or -inf where a row sees nothing.
        """
        start = 0 if window is None else max(0, min(self.lengths) - window)
        key = (window, dtype)
        if key not in self._masks:
            mask = None
            if min(self.lengths) < self.longest or (window and self.longest - start > window):
                at = torch.arange(start, self.longest, device=self.device)
                ends = torch.tensor(self.lengths, device=self.device)[:, None]
                seen = at < ends
                if window is not None:
                    seen &= at >= ends - window
                mask = torch.zeros(seen.shape, device=self.device, dtype=dtype)
                mask = mask.masked_fill_(~seen, -torch.inf)[:, None, None]
            self._masks[key] = mask
        return start, self._masks[key]

    def chunk_mask(self, chunk: Chunk, window: int | None) -> tuple[int, Tensor | None]:
        """The first place that the chunk sees, and which places each of its tokens sees.

        Returns:
            place, and [tokens, last - place] bool; None where each token sees the chunk up to
            itself and nothing else.
        """
        start = 0 if window is None else max(0, chunk.first + 1 - window)
        tokens = chunk.last - chunk.first
        if chunk.first == 0 and (window is None or tokens <= window):
            return 0, None
        key = (window, chunk.start)
        if key not in self._masks:
            at = torch.arange(start, chunk.last, device=self.device)
            own = torch.arange(chunk.first, chunk.last, device=self.device)[:, None]
            seen = at <= own
            if window is not None:
                seen &= at > own - window
            self._masks[key] = seen
        return start, self._masks[key]


class StepCache(Cache):
    """What the model takes for its cache: it writes new keys and values into the slots.

    The attention function that follows reads them there. That every write is followed by it is
    checked, since a model that computes attention by itself would see only the newest token.
    """

    def __init__(self, store: KeyValueStore, plan: Plan) -> None:
        super().__init__(layers=[])
        self.store, self.plan = store, plan
        self.waiting: int | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep [N, heads, 1, D] of one layer."""
        self.check_attended()
        plan = self.plan
        self.store.write(layer_idx, key_states, value_states, plan.slots, plan.places)
        self.waiting = layer_idx
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """0: positions come with the tokens."""
        return 0

    def check_attended(self) -> None:
        """Raises UnsupportedBaseError if the last layer's attention was not ours."""
        if self.waiting is not None:
            raise unsupported("it computes attention by itself")


class running:
    """Inside, the model attends through `cache`; then it is again as it was."""

    def __init__(self, model: Any, cache: StepCache) -> None:
        self._config, self._cache = model.config, cache

    def __enter__(self) -> None:
        self._before = self._config._attn_implementation
        self._outer = getattr(_running, "cache", None)
        self._config._attn_implementation = NAME
        _running.cache = self._cache

    def __exit__(self, *exc: object) -> None:
        self._config._attn_implementation = self._before
        _running.cache = self._outer


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function: `query` [N, H, 1, D] against the slots → [N, 1, H, D]."""
    cache: StepCache | None = getattr(_running, "cache", None)
    if cache is None or cache.waiting is None:
        raise unsupported("it attends to something that it does not keep")
    _check_call(module, attention_mask, sliding_window, kwargs)
    layer, plan = cache.store.layer(cache.waiting), cache.plan
    cache.waiting = None
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    return attend(query, layer, plan, scaling, sliding_window, softcap), None


def attend(
    query: Tensor,
    layer: LayerCache,
    plan: Plan,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """`query` [N, H, 1, D] against the slots, which have the tokens' own keys → [N, 1, H, D]."""
    parts = []
    if plan.decoding:
        parts.append(_decode(query, layer, plan, scaling, window, softcap))
    for chunk in plan.chunks:
        parts.append(_prefill(query, layer, plan, chunk, scaling, window, softcap))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _decode(
    query: Tensor,
    layer: LayerCache,
    plan: Plan,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One query a row, over the dense slots: [n, 1, H, D]."""
    rows, heads = plan.decoding, query.shape[1]
    start, mask = plan.decode_mask(window, query.dtype)
    keys = layer.keys[:rows, :, start : plan.longest]
    values = layer.values[:rows, :, start : plan.longest]
    # the queries that share a head of keys stand as its rows, so that no head is repeated
    grouped = query[:rows].reshape(rows, keys.shape[1], -1, query.shape[-1])
    if softcap is None:
        out = F.scaled_dot_product_attention(grouped, keys, values, mask, scale=scaling)
    else:
        out = _capped(grouped, keys, values, mask, scaling, softcap)
    return out.reshape(rows, 1, heads, -1)


def _prefill(
    query: Tensor,
    layer: LayerCache,
    plan: Plan,
    chunk: Chunk,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """The tokens of one chunk, over their own slot: [T, 1, H, D]."""
    start, seen = plan.chunk_mask(chunk, window)
    keys = layer.keys[chunk.slot, :, start : chunk.last][None]
    values = layer.values[chunk.slot, :, start : chunk.last][None]
    queries = query[chunk.start : chunk.stop, :, 0].transpose(0, 1)[None]  # [1, H, T, D]
    if softcap is None:
        out = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            seen,
            is_causal=seen is None,
            scale=scaling,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
    else:
        tokens, groups = queries.shape[2], queries.shape[1] // keys.shape[1]
        if seen is None:
            seen = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
        mask = torch.zeros(seen.shape, dtype=query.dtype, device=query.device)
        mask = mask.masked_fill_(~seen, -torch.inf)
        keys, values = (part.repeat_interleave(groups, 1) for part in (keys, values))
        out = _capped(queries, keys, values, mask, scaling, softcap)
    return out[0].transpose(0, 1)[:, None]


def _capped(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scaling: float,
    softcap: float,
) -> Tensor:
    """softmax(c tanh(q kᵀ s / c) + mask) v, with the cap c (Gemma 2)."""
    scores = queries @ keys.transpose(-1, -2) * scaling
    scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(queries.dtype) @ values


def _check_call(
    module: nn.Module, mask: Tensor | None, window: int | None, kwargs: dict[str, Any]
) -> None:
    """Raises UnsupportedBaseError where a layer wants more than the engine's attention does."""
    for name in _FOREIGN:
        if kwargs.get(name) is not None:
            raise unsupported(f"its attention takes {name}")
    if mask is not None:
        raise unsupported("it makes an attention mask of its own")
    if not getattr(module, "is_causal", True) or kwargs.get("is_causal") is False:
        raise unsupported("its attention looks ahead")
    if window is None and getattr(module, "layer_type", None) == "sliding_attention":
        raise unsupported("a layer with a sliding window does not say how wide it is")


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)

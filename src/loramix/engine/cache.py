"""Keys and values of the rows that run: one slot a row, slots dense from 0.

Each layer keeps two tensors, [slots, heads, capacity, D]. Slots and capacity grow with what the
rows need and shrink again; what they may grow to is the scheduler's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from loramix.base import Base

_STEP = 64
"""Capacity comes in multiples of so many tokens."""


class LayerCache(NamedTuple):
    """What one layer keeps: keys [slots, heads, capacity, D] and values, D may differ."""

    keys: Tensor
    values: Tensor

    @property
    def bytes(self) -> int:
        """Of both tensors."""
        return self.keys.nbytes + self.values.nbytes


class KeyValueStore:
    """The slots of all layers.

    Layers are made when they first come: only the model knows their heads and widths.

    Attributes:
        slots: how many rows there is room for.
        capacity: how many tokens of each.
        made: counts how often tensors were replaced by others.
    """

    def __init__(self) -> None:
        self.slots = 0
        self.capacity = 0
        self.made = 0
        self._layers: dict[int, LayerCache] = {}
        self._token_bytes = 0  # counted once: it is asked for in every step

    @property
    def bytes(self) -> int:
        """Of all layers; any thread may ask, while the first forward makes them."""
        return sum(layer.bytes for layer in list(self._layers.values()))

    @property
    def token_bytes(self) -> int | None:
        """Of one token in all layers; None before the first forward."""
        return self._token_bytes or None

    def layer(self, index: int) -> LayerCache:
        """One layer; KeyError before the first forward."""
        return self._layers[index]

    @torch.inference_mode()
    def reserve(self, slots: int, tokens: int, most_slots: int, most_tokens: int) -> None:
        """Make room for `slots` rows of `tokens` tokens; what is kept stays.

        Room is made ahead, up to `most_slots` and `most_tokens`, and given back where less
        than a quarter of it is needed.
        """
        want = slots, tokens
        fits = slots <= self.slots and tokens <= self.capacity
        wide = self.slots * self.capacity > 4 * _ahead(*want, most_slots, most_tokens)[2]
        if fits and not wide:
            return
        new_slots, capacity, _ = _ahead(*want, most_slots, most_tokens)
        if not fits:  # what is large enough stays so, unless that would be too much
            kept_slots = max(new_slots, min(self.slots, most_slots))
            kept_capacity = max(capacity, min(self.capacity, most_tokens))
            new_slots, capacity = kept_slots, kept_capacity
        self.made += 1
        for index, layer in self._layers.items():
            keys = _resized(layer.keys, new_slots, capacity)
            self._layers[index] = LayerCache(keys, _resized(layer.values, new_slots, capacity))
        self.slots, self.capacity = new_slots, capacity

    def write(self, index: int, keys: Tensor, values: Tensor, slots: Tensor, at: Tensor) -> None:
        """Put one token's keys and values [N, heads, 1, D] at (slots [N], at [N])."""
        layer = self._layers.get(index)
        if layer is None:
            room = (self.slots, keys.shape[1], self.capacity)
            # zeros, since what is masked is multiplied by 0, and NaN times 0 is NaN
            layer = self._layers[index] = LayerCache(
                keys.new_zeros(*room, keys.shape[-1]), values.new_zeros(*room, values.shape[-1])
            )
            for part in (keys, values):
                self._token_bytes += part.shape[1] * part.shape[3] * part.itemsize
        layer.keys[slots, :, at] = keys[:, :, 0]
        layer.values[slots, :, at] = values[:, :, 0]

    @torch.inference_mode()
    def copy(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` tokens of a slot to another."""
        for layer in self._layers.values():
            for kept in layer:
                kept[target, :, :tokens] = kept[source, :, :tokens]

    @torch.inference_mode()
    def swap(self, one: int, other: int, tokens: int) -> None:
        """Exchange two slots of at most `tokens` tokens."""
        for layer in self._layers.values():
            for kept in layer:
                held = kept[one, :, :tokens].clone()
                kept[one, :, :tokens] = kept[other, :, :tokens]
                kept[other, :, :tokens] = held

    @torch.inference_mode()
    def read(self, slot: int, start: int, stop: int) -> list[tuple[Tensor, Tensor]]:
        """Copies of the keys and values [heads, stop - start, D] of each layer."""
        return [
            (layer.keys[slot, :, start:stop].clone(), layer.values[slot, :, start:stop].clone())
            for layer in self._layers.values()
        ]

    @torch.inference_mode()
    def fill(self, slot: int, blocks: Sequence[list[tuple[Tensor, Tensor]]]) -> None:
        """Put what `read` gave, block after block, at the beginning of a slot."""
        for place, layer in enumerate(self._layers.values()):
            for kept, part in zip(layer, (0, 1), strict=True):
                tokens = torch.cat([block[place][part] for block in blocks], dim=1)
                kept[slot, :, : tokens.shape[1]] = tokens

    @torch.inference_mode()
    def wipe(self, slot: int) -> None:
        """Zero a slot: what is masked in the next row must be a number."""
        for layer in self._layers.values():
            for kept in layer:
                kept[slot].zero_()

    @torch.inference_mode()
    def release(self) -> None:
        """Give the memory of all slots back."""
        self.made += 1
        for index, layer in self._layers.items():
            keys, values = (_resized(part, 0, 0) for part in layer)
            self._layers[index] = LayerCache(keys, values)
        self.slots = self.capacity = 0

    def forget(self) -> None:
        """The same, and forget what the layers are like: the device may be another one."""
        self._layers = {}
        self.made += 1
        self.slots = self.capacity = self._token_bytes = 0


def _ahead(slots: int, tokens: int, most_slots: int, most_tokens: int) -> tuple[int, int, int]:
    """Slots and capacity to make for a need, and their product."""
    rounded = 1 << max(slots - 1, 0).bit_length()
    ahead = -(-(tokens + tokens // 2) // _STEP) * _STEP
    room = max(slots, min(rounded, most_slots)), max(tokens, min(ahead, most_tokens))
    return *room, room[0] * room[1]


def _resized(kept: Tensor, slots: int, capacity: int) -> Tensor:
    new = kept.new_zeros(slots, kept.shape[1], capacity, kept.shape[3])
    rows, tokens = min(slots, kept.shape[0]), min(capacity, kept.shape[2])
    new[:rows, :, :tokens] = kept[:rows, :, :tokens]
    return new


def token_bytes(base: Base) -> int:
    """Bytes that one token takes, by the config alone; the store knows better once it runs."""
    config: Any = base.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * base.dtype.itemsize)

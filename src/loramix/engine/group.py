"""Layers that read the same input, as one product.

A product of few rows in half precision costs some 10 µs on a CPU before it begins. The weights of
q, k and v, and those of gate and up, can stand one below the other, so that each of them is a
part of one matrix: the same bytes, fewer products.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from loramix.base import Int8Linear
from loramix.base.int8 import int8_linear
from loramix.engine.folded import Folding, Spare
from loramix.engine.product import Product, frozen_product, is_packed, stands_first
from loramix.mixed import mix_together, shelves_at
from loramix.scope import Shelf
from loramix.stack import Paths

_SPARE = 256
"""Rows kept free below wide weights; eight skills of rank 16 at two layers take as many."""

_SPARES: MutableMapping[Tensor, Spare] = WeakIdKeyDictionary()
"""Those below each group's first weight; other engines over the same weights find them, too."""


class Group:
    """Layers that are always given the same input; one layer is a group, too.

    The layers' parameters become parts of one tensor; their values, and the model's state dict,
    stay as they are. No hook but those of a `MixedModel` is heard.

    Args:
        layers: modules of a frozen model. Those of several dtypes, or of another make than
            `nn.Linear` and `Int8Linear`, stay apart and are called as they are.
        copies: whether weights may be copied where that is faster.
    """

    def __init__(self, layers: Sequence[Any], copies: bool = False) -> None:
        self._layers, self._copies = layers, copies
        self._hooks = [layer._forward_hooks for layer in layers]
        self._product: Product | None = None
        self._sizes: list[int] = []
        self._folding: Folding | None = None
        self.join()

    def join(self) -> None:
        """Put the parameters together; again, where somebody moved them since."""
        self._product = self._folding = None
        kinds = {type(layer) for layer in self._layers}
        if kinds not in ({nn.Linear}, {Int8Linear}):
            return
        names = ("codes", "scale") if kinds == {Int8Linear} else ("weight",)
        columns = [[getattr(layer, name) for layer in self._layers] for name in (*names, "bias")]
        without = [bias is None for bias in columns[-1]]
        if not _alike(columns[0]) or any(without) != all(without):
            return
        # others may use the same parameters where gradients flow
        with torch.inference_mode(False):
            bias = None if all(without) else _joined(columns[-1])
            spare = _SPARE if kinds == {nn.Linear} and stands_first(columns[0][0]) else 0
            weights = [_joined(column, spare) for column in columns[:-1]]
        self._sizes = [part.shape[0] for part in columns[0]]
        self._product = _product(weights, bias, self._copies)
        if kinds == {nn.Linear}:
            below = _SPARES.get(columns[0][0])
            if below is not None and below.address != weights[0].data_ptr():  # it was moved
                below = None
            if below is not None or (self._copies and is_packed(weights[0])):
                self._folding = Folding(weights[0], bias, self._sizes, below)

    def forget(self) -> None:
        """Drop what was made of the skills."""
        if self._folding is not None:
            self._folding.forget()

    @property
    def bytes(self) -> int:
        """Of the copies in which skills are folded."""
        folding = self._folding
        return 0 if folding is None else folding.bytes

    @property
    def folded(self) -> bool:
        """Whether the skills of the latest step are folded into the layers."""
        return self._folding is not None and self._folding.folded

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """`x` [N, D_in] → [N, D_out] of each layer, the skills mixed in."""
        parts: Sequence[Tensor]
        if self._product is None:
            # a module of another make hears its hooks by itself
            parts = [layer(x) for layer in self._layers]
            return parts
        hooks = sum(map(len, self._hooks))
        shelves: Mapping[Shelf, Paths] = {}
        if hooks:
            if self._folding is not None and self._folding.holds(hooks):
                return self._folding(x)
            shelves = shelves_at(self._layers)
            if self._folding is not None and len(shelves) == 1:
                ((shelf, paths),) = shelves.items()
                # no other model's are there
                only = hooks == sum(path is not None for path in paths)
                if only and self._folding.see(hooks, shelf, paths, x):
                    return self._folding(x)
        elif self._folding is not None:
            self._folding.forget()
        out = self._product(x)
        parts = out.split_with_sizes(self._sizes, -1) if len(self._sizes) > 1 else (out,)
        return mix_together(shelves, x, parts) if shelves else parts


def _product(weights: Sequence[Any], bias: Tensor | None, copies: bool) -> Product:
    if len(weights) > 1:
        codes, scale = weights
        return functools.partial(int8_linear, codes=codes, scale=scale, bias=bias)
    return frozen_product(weights[0], bias, copies)


def _alike(weights: Sequence[Tensor]) -> bool:
    return len({(weight.dtype, weight.device, weight.shape[1:]) for weight in weights}) == 1


def _joined(parameters: Sequence[Tensor], spare: int = 0) -> Tensor:
    """One tensor of which the parameters, or buffers, are parts, one below the other.

    Args:
        parameters: of one dtype, on one device.
        spare: rows to keep free below them, where they have not been joined before.
    """
    first = parameters[0].data
    rows = sum(parameter.shape[0] for parameter in parameters)
    after, joined = first.data_ptr(), True
    for parameter in parameters:
        joined &= parameter.data_ptr() == after and parameter.is_contiguous()
        joined &= parameter.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        after += parameter.nbytes
    if joined:  # for another engine over the same weights
        return first.as_strided((rows, *first.shape[1:]), first.stride())
    whole = first.new_zeros(rows + spare, *first.shape[1:])  # what is free may be saved, too
    torch.cat([parameter.data for parameter in parameters], out=whole[:rows])
    if spare:
        _SPARES[parameters[0]] = Spare(whole.data_ptr(), rows + spare)
    start = 0
    for parameter in parameters:
        parameter.data = whole[start : start + parameter.shape[0]]
        start += parameter.shape[0]
    return whole[:rows]

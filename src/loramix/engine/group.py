"""Layers that read the same input, as one product.

A product of few rows in half precision costs some 10 µs on a CPU before it begins. The weights of
q, k and v, and those of gate and up, can stand one below the other, so that each of them is a
part of one matrix: the same bytes, fewer products.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from loramix.base import Int8Linear
from loramix.base.int8 import int8_linear
from loramix.engine.product import Product, frozen_product
from loramix.mixed import mix_together


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
        self.join()

    def join(self) -> None:
        """Put the parameters together; again, where somebody moved them since."""
        self._product = None
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
            *weights, bias = [None if column[0] is None else _joined(column) for column in columns]
        self._sizes = [part.shape[0] for part in columns[0]]
        self._product = _product(weights, bias, self._copies)

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """`x` [N, D_in] → [N, D_out] of each layer, the skills mixed in."""
        parts: Sequence[Tensor]
        if self._product is None:
            # a module of another make hears its hooks by itself
            parts = [layer(x) for layer in self._layers]
            return parts
        out = self._product(x)
        parts = out.split_with_sizes(self._sizes, -1) if len(self._sizes) > 1 else (out,)
        return mix_together(self._layers, x, parts) if any(self._hooks) else parts


def _product(weights: Sequence[Any], bias: Tensor | None, copies: bool) -> Product:
    if len(weights) > 1:
        codes, scale = weights
        return functools.partial(int8_linear, codes=codes, scale=scale, bias=bias)
    return frozen_product(weights[0], bias, copies)


def _alike(weights: Sequence[Tensor]) -> bool:
    return len({(weight.dtype, weight.device, weight.shape[1:]) for weight in weights}) == 1


def _joined(parameters: Sequence[Tensor]) -> Tensor:
    """One tensor of which the parameters, or buffers, are parts, one below the other."""
    first = parameters[0].data
    rows = sum(parameter.shape[0] for parameter in parameters)
    after, joined = first.data_ptr(), True
    for parameter in parameters:
        joined &= parameter.data_ptr() == after and parameter.is_contiguous()
        joined &= parameter.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        after += parameter.nbytes
    if joined:  # for another engine over the same weights
        return first.as_strided((rows, *first.shape[1:]), first.stride())
    whole = torch.cat([parameter.data for parameter in parameters])
    start = 0
    for parameter in parameters:
        parameter.data = whole[start : start + parameter.shape[0]]
        start += parameter.shape[0]
    return whole

"""The products of a step with frozen weights, few rows against many weights.

A CPU spends most of a step here, and which of torch's products reads bfloat16 weights fastest
depends on their width and on the rows; `docs/log.md` has the figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loramix.base.int8 import has_tiles

Product = Callable[[Tensor], Tensor]
"""[N, D_in] → [N, D_out]."""

_NARROW = 1536
"""Inputs up to which oneDNN's own layout pays, for 1 to 512 rows.

oneDNN brings bfloat16 weights into it before it multiplies, and left to itself does so again in
every product, which for narrow layers takes a third of the time.
"""

SMALL = 256 << 20
"""Bytes of a base up to which its narrow layers are copied into that layout."""

_PACKED_FOR = 8
"""Rows for which the layout is chosen; with others it is as fast or nearly so."""

_FEW = 16
"""Rows up to which wide weights are read at the speed of memory where they stand first."""


def frozen_product(weight: Tensor, bias: Tensor | None, copies: bool = True) -> Product:
    """The fastest product for one linear layer.

    Args:
        weight: [D_out, D_in]. It may be copied: where it is changed later, ask again.
        bias: [D_out], or None.
        copies: whether it may be copied where that is faster.
    """
    plain = functools.partial(F.linear, weight=weight, bias=bias)
    if weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return plain
    if copies and is_packed(weight):
        return _packed(weight, bias)
    if stands_first(weight):
        return functools.partial(_weights_first, weight=weight, bias=bias)
    return plain


def is_packed(weight: Tensor) -> bool:
    """Whether a copy of such a weight [D_out, D_in] would be kept in oneDNN's own layout."""
    narrow = weight.shape[1] <= _NARROW and weight.device.type == "cpu"
    return weight.dtype == torch.bfloat16 and narrow and _has_packed_products()


def stands_first(weight: Tensor) -> bool:
    """Whether such a weight is the first operand: only here that was measured to be faster."""
    wide = weight.shape[1] > _NARROW and weight.device.type == "cpu"
    return weight.dtype == torch.bfloat16 and wide and has_tiles()


def _weights_first(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Few rows as columns on the right of the weights."""
    rows = x.shape[0]
    if rows > _FEW:
        return F.linear(x, weight, bias)
    y = torch.mv(weight, x[0])[None] if rows == 1 else torch.mm(weight, x.t()).t().contiguous()
    return y if bias is None else y.add_(bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Product:
    """A product with a copy of the weight, in oneDNN's layout."""
    ops: Any = torch.ops.mkldnn
    with torch.inference_mode():
        packed = ops._reorder_linear_weight(weight.detach(), _PACKED_FOR)

    def product(x: Tensor) -> Tensor:
        y: Tensor = ops._linear_pointwise(x, packed, bias, "none", [], "")
        return y

    return product


@functools.cache
def _has_packed_products() -> bool:
    """Whether this build and this processor have what torch.compile, too, multiplies with.

    Those operators are torch's own affair, so that another release may lack them.
    """
    build: Any = torch.backends.mkldnn
    ops: Any = torch.ops.mkldnn
    wanted = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if not build.is_available() or not all(hasattr(ops, op) for op in wanted):
        return False
    return bool(ops._is_mkldnn_bf16_supported())

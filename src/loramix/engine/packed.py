"""Weights in half precision, laid out as the processor's products want them.

oneDNN brings bfloat16 weights into a layout of its own before it multiplies. Left to itself it
does that again in every product, which for narrow layers takes a third of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_NARROW = 1536
"""Inputs up to which the layout pays; wider layers wait for memory all the same.

Measured for 1 to 512 rows, in `docs/log.md`. The copies of a base's narrow layers are small.
"""

_ROWS = 8
"""For which the layout is chosen; with others it is as fast or nearly so."""


class PackedWeight:
    """The weight of one linear layer, in the layout of the products.

    It is a copy, in memory of its own.
    """

    def __init__(self, packed: Tensor, bias: Tensor | None) -> None:
        self._packed, self._bias = packed, bias

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> PackedWeight | None:
        """Pack `weight` [D_out, D_in]; None where that gains nothing or is not to be had."""
        if weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
            return None
        if weight.shape[1] > _NARROW or not _has_products():
            return None
        ops: Any = torch.ops.mkldnn
        with torch.inference_mode():
            return cls(ops._reorder_linear_weight(weight.detach(), _ROWS), bias)

    def __call__(self, x: Tensor) -> Tensor:
        """`x` [N, D_in] → [N, D_out]."""
        ops: Any = torch.ops.mkldnn
        out: Tensor = ops._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return out


def _has_products() -> bool:
    """Whether this build and this processor have what torch.compile, too, multiplies with.

    Those operators are torch's own affair, so that another release may lack them.
    """
    ops: Any = torch.ops.mkldnn
    wanted = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    has: Any = torch.backends.mkldnn
    if not has.is_available() or not all(hasattr(ops, op) for op in wanted):
        return False
    return bool(ops._is_mkldnn_bf16_supported())

"""The products of a step with frozen weights, few rows against many weights.

A CPU spends most of a step here, and which of torch's products reads the weights fastest depends
on the processor, their dtype and width, and on the rows; `docs/log.md` has the figures.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from loramix.base.int8 import has_tiles
from loramix.base.widen import float_linear, multiplies_bf16, onednn_linear, widened_linear

Product = Callable[[Tensor], Tensor]
"""[N, D_in] → [N, D_out]."""

_NARROW = 1536
"""Inputs up to which oneDNN's own layout pays for bfloat16 weights, for 1 to 512 rows.

oneDNN brings bfloat16 weights into it before it multiplies, and left to itself does so again in
every product, which for narrow layers takes a third of the time.
"""

SMALL = 256 << 20
"""Bytes of a base up to which its layers are copied into that layout."""

_PACKED_FOR = 8
"""Rows for which the layout is chosen; with others it is as fast or nearly so."""

_FEW = 16
"""Rows up to which weights that stand first are read faster than in another product."""

_READ = 4
"""Rows up to which reading narrow weights is all that counts, where they would be widened."""

_LEAST = 512
"""Inputs from which oneDNN's product in float32 repays its call, and the copies their making."""

_FASTER = 1.15
"""How many times as fast a product has to be measured for another to be left."""


def frozen_product(weight: Tensor, bias: Tensor | None, copies: bool = True) -> Product:
    """The fastest product for one linear layer.

    Args:
        weight: [D_out, D_in]. It may be copied: where it is changed later, ask again.
        bias: [D_out], or None.
        copies: whether it may be copied where that is faster.
    """
    product: Callable[..., Tensor] = F.linear
    narrow = weight.dtype in (torch.float32, torch.bfloat16)
    if weight.device.type == "cpu" and narrow and weight.numel():
        if copies and is_packed(weight):
            return _packed(weight, bias)
        if weight.dtype == torch.float32:
            product = float_linear if _repays(weight) else F.linear
        elif stands_first(weight):
            product = _weights_first
        elif not multiplies_bf16():
            product = _widened
    return functools.partial(product, weight=weight, bias=bias)


def is_packed(weight: Tensor) -> bool:
    """Whether a copy of such a weight [D_out, D_in] would be kept in oneDNN's own layout."""
    if weight.device.type != "cpu":
        return False
    if weight.dtype == torch.float32:
        return _repays(weight)
    return weight.dtype == torch.bfloat16 and weight.shape[1] <= _NARROW and _packs_bf16()


def _repays(weight: Tensor) -> bool:
    return weight.shape[1] >= _LEAST and packed_floats_pay()


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


def _widened(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Weights that are widened first, unless the rows are few."""
    if x.shape[0] <= _READ:
        return F.linear(x, weight, bias)
    return widened_linear(x, weight, bias=bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Product:
    """A product with a copy of the weight, in oneDNN's layout."""
    with torch.inference_mode():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _PACKED_FOR)
    return functools.partial(onednn_linear, weight=packed, bias=bias)


@functools.cache
def _has_packing() -> bool:
    """Whether this build has what torch.compile, too, multiplies with.

    Those operators are torch's own affair, so that another release may lack them.
    """
    build: Any = torch.backends.mkldnn
    wanted = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    return build.is_available() and all(hasattr(torch.ops.mkldnn, op) for op in wanted)


def _packs_bf16() -> bool:
    return _has_packing() and multiplies_bf16()


@functools.cache
def packed_floats_pay() -> bool:
    """Whether oneDNN's product in float32 is measured to be the faster one here, for 8 rows.

    torch's own is MKL's, which is made for Intel's processors: on Zen 3 it takes twice as long.
    The question takes a tenth of a second there, once.
    """
    if not _has_packing():
        return False
    wide: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    x = torch.ones(_PACKED_FOR, 512, **wide)
    weights = [torch.full((1024, 512), 0.5, **wide) for _ in range(8)]
    with torch.inference_mode():
        products: list[list[Product]] = [
            [functools.partial(F.linear, weight=weight) for weight in weights],
            [_packed(weight, None) for weight in weights],
        ]
        seconds: list[list[float]] = [[], []]
        for _ in range(4):
            for some, taken in zip(products, seconds, strict=True):
                begun = time.perf_counter()
                for product in some:
                    product(x)
                taken.append(time.perf_counter() - begun)
    plain, packed = (statistics.median(taken[1:]) for taken in seconds)
    return plain > _FASTER * packed

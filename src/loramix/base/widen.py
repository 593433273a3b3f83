"""Products of many rows with narrow weights, which are widened a block at a time.

What a processor has no instructions for, torch multiplies number by number: with AVX2 alone 64
rows in bfloat16 take five times as long as in float32. Widening a block of weights and multiplying
it while the caches hold it costs little more than float32, and no memory. docs/log.md has the
figures.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 1 << 20
"""Weights that are widened to float32 at a time: 4 MB, which the caches hold."""

_FEW = 16
"""Rows up to which weights that stand first are multiplied faster than those that do not."""

_HALF_BLOCK = 1024
"""Output channels that are widened to bfloat16 at a time, to bound the memory that it takes."""


def widened_linear(
    x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """scale ⊙ (x Wᵀ) + bias, in what the processor multiplies in.

    Args:
        x: [N, D_in] bfloat16.
        weight: [D_out, D_in] bfloat16 or int8.
        scale: [D_out] bfloat16, or None for 1.
        bias: [D_out] bfloat16, or None.

    Returns:
        [N, D_out] bfloat16.
    """
    wide = torch.bfloat16 if multiplies_bf16() else torch.float32
    step = max(1, BLOCK // weight.shape[1]) if wide == torch.float32 else _HALF_BLOCK
    product = functional.linear if wide == torch.bfloat16 else float_linear
    rows = x.to(wide)
    y = x.new_empty(x.shape[0], weight.shape[0])
    # one place for all blocks: memory that is new each time costs as much as the products
    place = torch.empty(min(step, weight.shape[0]), weight.shape[1], dtype=wide)
    for start in range(0, weight.shape[0], step):
        block = slice(start, start + step)
        narrow = weight[block]
        part = product(rows, place[: narrow.shape[0]].copy_(narrow))
        if scale is not None:
            part.mul_(scale[block])
        y[:, block] = part if bias is None else part.add_(bias[block])
    return y


def float_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + bias in float32 by oneDNN, with weights as they lie.

    Args:
        x: [N, D_in].
        weight: [D_out, D_in].
        bias: [D_out], or None.

    Returns:
        [N, D_out].
    """
    if not 1 < x.shape[0] <= _FEW:
        return onednn_linear(x, weight, bias)
    # the weights first: only x is brought into another layout
    y = onednn_linear(weight, x).t().contiguous()
    return y if bias is None else y.add_(bias)


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + bias by oneDNN, which F.linear takes for bfloat16 alone.

    Args:
        x: [N, D_in].
        weight: [D_out, D_in], of the dtype of x, as it is or in oneDNN's layout.
        bias: [D_out], or None.

    Returns:
        [N, D_out].
    """
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


@functools.cache
def multiplies_bf16() -> bool:
    """Whether torch has fast products in bfloat16 for this processor, which AVX-512 is enough for.

    The question is torch's own affair, so that another release may lack it; then they are taken to
    be fast, as they are wherever bfloat16 is used a lot.
    """
    build: Any = torch.backends.mkldnn
    ask: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return ask is None or bool(build.is_available() and ask())

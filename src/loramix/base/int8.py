"""Linear layers with int8 weights, for a CPU.

Each output channel has a scale, so that W ≈ scale ⊙ codes and

    y = scale ⊙ (codes x)        codes: int8 [D_out, D_in], scale: bfloat16 [D_out]

The products are torch's own. Which one is fastest depends on the rows; all of them are exact in
the weights. benches/int8_products.py has the figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from loramix.base.widen import widened_linear
from loramix.errors import BaseError

Read = Callable[[str, Tensor], Tensor]
"""Path of a weight, and the weight → the same as it is stored."""

_SMALLEST = 1 << 16
"""Layers with fewer weights stay as they are: nothing to win, and routers are among them."""

_WIDTH = 16
"""torch's packed product reads so many inputs at once, and past the end of other widths."""

_PACKED_ROWS = 4
"""Up to so many rows the packed product reads the weights once; for more it reads them again."""

_LARGE = 1 << 22
"""Weights from which whole numbers gain by tiles (AMX): below, making digits costs more.

There only one row of layers with more inputs than outputs is packed, whose digits are many.
"""

_FEW_ROWS = 64
"""From there on weights that are widened to bfloat16 first are faster: the work repays it."""

_FEW_PACKED_ROWS = 16
"""The same border where the processor has no int8 products, and packed ones run up to it."""

_BLOCK = 1024
"""Output channels that are quantised at a time, to bound the memory that it takes."""

_TOP = 127
_MOST = 256 * _TOP  # of a number in two bytes, so that its upper one stays within [-127, 127]


class Int8Linear(nn.Module):
    """A linear layer with int8 weights; takes and gives bfloat16, and has no gradients.

    It has no `weight`: what needs the full weights fails instead of using rounded ones.

    Args:
        weight: [D_out, D_in], any floating dtype.
        bias: [D_out] or None.
        was_conv1d: whether it stands for GPT-2's transposed layer.

    Attributes:
        codes: [D_out, D_in] int8 in [-127, 127].
        scale: [D_out] bfloat16.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, was_conv1d: bool = False) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.was_conv1d = was_conv1d
        codes, scale = quantise(weight)
        self.codes = nn.Parameter(codes, requires_grad=False)
        self.register_buffer("scale", scale)
        kept = None if bias is None else bias.detach().to(torch.bfloat16, copy=True)
        self.bias = None if kept is None else nn.Parameter(kept, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D_in] → [..., D_out], both bfloat16."""
        if x.dtype != torch.bfloat16 or (x.requires_grad and torch.is_grad_enabled()):
            raise BaseError(
                "A layer with int8 weights computes in bfloat16, and without gradients.",
                given=f"{x.dtype}{', which wants a gradient' if x.requires_grad else ''}",
                hint="load the base with dtype auto, fp32 or bf16",
            )
        y = int8_linear(x.reshape(-1, self.in_features), self.codes, self.scale, self.bias)
        return y.view(*x.shape[:-1], self.out_features)

    def dequantised(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The weights that the layer computes with, [D_out, D_in]."""
        return self.codes.to(dtype) * self.scale.to(dtype)[:, None]

    def extra_repr(self) -> str:
        """As torch prints a linear layer."""
        return f"in_features={self.in_features}, out_features={self.out_features}, int8"


@torch.no_grad()
def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes [D_out, D_in] int8 and scales [D_out] bfloat16 of a weight [D_out, D_in].

    The scale is rounded up to a bfloat16 before the codes are made, so that rounding it costs
    nothing and no code is cut off.
    """
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scale = torch.empty(weight.shape[0], dtype=torch.bfloat16)
    for start in range(0, weight.shape[0], _BLOCK):
        block = slice(start, start + _BLOCK)
        part = weight[block].float()
        exact = part.abs().amax(1).div_(_TOP).clamp_min_(torch.finfo(torch.float32).tiny)
        near = exact.bfloat16()
        up = torch.nextafter(near, torch.full_like(near, torch.inf))
        scale[block] = torch.where(near.float() < exact, up, near)
        codes[block] = part.div(scale[block].float()[:, None]).round_()
    return codes, scale


def int8_linear(
    x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """scale ⊙ (codes x) + bias for each row.

    Args:
        x: [N, D_in] bfloat16.
        codes: [D_out, D_in] int8.
        scale: [D_out] bfloat16.
        bias: [D_out] bfloat16, or None.

    Returns:
        [N, D_out] bfloat16.
    """
    y = _product(x, codes, scale)
    return y if bias is None else y.add_(bias)


def _product(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    rows, digits = x.shape[0], int_products_pay()
    most_packed = _PACKED_ROWS if digits else _FEW_PACKED_ROWS
    if digits and codes.numel() >= _LARGE and has_tiles():
        most_packed = 0 if codes.shape[0] >= codes.shape[1] else 1
    if digits and most_packed < rows <= _FEW_ROWS:
        return _by_digits(x, codes, scale)
    if rows <= most_packed:
        packed: Tensor = torch.ops.aten._weight_int8pack_mm(x, codes, scale)
        return packed
    return widened_linear(x, codes, scale)


def _by_digits(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """The same through whole numbers: x in two int8 digits, exact products, one sum of the two.

    Each row is x = u q with a unit u of its own and q a whole number of 16 bits, whose bytes are
    the digits: q = 256 high + low, both in [-128, 127]. A row's result does not depend on the
    others at all.
    """
    rows = x.shape[0]
    wide = x.float()
    unit = wide.abs().amax(1, keepdim=True).div_(_MOST).clamp_min_(1e-35)
    # half a step more, so that the lower byte counts from 0 and the upper one rounds; with its
    # first bit turned round it counts from -128
    whole = wide.div_(unit).round_().add_(128).to(torch.int16).bitwise_xor_(128)
    digits = whole.view(torch.int8).view(rows, -1, 2).permute(2, 0, 1).reshape(2 * rows, -1)
    # the weights stand first, where they are read as they lie and are not packed for each call
    low, high = torch._int_mm(codes, digits.t()).float().view(-1, 2, rows).unbind(1)
    y = torch.add(low, high, alpha=256).t().contiguous()
    return y.mul_(unit).mul_(scale).to(x.dtype)


@functools.cache
def int_products_pay() -> bool:
    """Whether this processor multiplies int8 fast and without overflow.

    Those without instructions for it add pairs of products in 16 bits, which cuts large ones off.
    """
    if not getattr(torch.cpu, "_is_vnni_supported", bool)():
        return False
    signs = torch.tensor([1, -1, 1, 1], dtype=torch.int8).repeat(16)
    large = torch.full((16, 64), _TOP, dtype=torch.int8) * signs
    try:
        made = torch._int_mm(large, large.t())
    except RuntimeError:
        return False
    return bool((made == 64 * _TOP * _TOP).all())


@functools.cache
def has_tiles() -> bool:
    """Whether the processor has AMX, as far as torch says so."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def to_int8(model: nn.Module, read: Read | None = None, smallest: int = _SMALLEST) -> None:
    """Gives the linear layers of a model int8 weights, one after the other.

    The embedding stays as it is, also where it shares its weights with the head; so do small
    layers, those of an odd width, and what is no plain linear layer. All else becomes bfloat16.

    Args:
        model: in eval mode, on the CPU.
        read: gives weights from where they are stored, so that those of the model need never be
            in memory; without it the model's own are taken.
        smallest: layers with fewer weights are left out.
    """
    stored_in = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    for path, layer in list(model.named_modules()):
        kind: Any = layer
        conv1d = is_conv1d(layer)
        if isinstance(layer, Int8Linear) or not (conv1d or type(layer) is nn.Linear):
            continue
        if kind.weight.numel() < smallest or kind.weight.shape[0 if conv1d else 1] % _WIDTH:
            continue
        weight = kind.weight.detach()
        if read is not None:
            weight = read(f"{path}.weight", weight)
        made = Int8Linear(weight.t() if conv1d else weight, kind.bias, conv1d)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made.train(layer.training))
    for parameter in model.parameters():
        # not `.to`, which would round the buffers of the positions; what the architecture keeps
        # in another type than the rest stays in it
        if parameter.dtype == stored_in:
            parameter.data = parameter.data.to(torch.bfloat16)


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is GPT-2's linear layer, weight [D_in, D_out], or stood for it."""
    if isinstance(module, Int8Linear):
        return module.was_conv1d
    # By name: importing transformers for one class would cost a second at every start.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nx") and hasattr(module, "nf")

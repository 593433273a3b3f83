"""Layers that read the same input, as one product.

A product of few rows in half precision costs some 10 µs on a CPU before it begins. The weights of
q, k and v, and those of gate and up, can stand one below the other, so that each of them is a
part of one matrix: the same bytes, fewer products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Group:
    """Layers that are always given the same input.

    The layers' parameters become parts of one tensor; their values, and the model's state dict,
    stay as they are.

    Args:
        layers: modules of a frozen model. Those of several dtypes, or of another make than
            `nn.Linear`, stay apart.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers
        self._hooks = [layer._forward_hooks for layer in layers]
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        self._sizes: list[int] = []
        self.join()

    def join(self) -> None:
        """Put the parameters together; again, where somebody moved them since."""
        self._weight = self._bias = None
        if not all(type(layer) is nn.Linear for layer in self._layers):
            return
        weights = [layer.weight for layer in self._layers]
        biases = [layer.bias for layer in self._layers]
        without = [bias is None for bias in biases]
        if not _alike(weights) or any(without) != all(without):
            return
        # others may use the same parameters where gradients flow
        with torch.inference_mode(False):
            self._weight = _joined(weights)
            self._bias = None if any(without) else _joined(biases)
        self._sizes = [weight.shape[0] for weight in weights]

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """`x` [N, D_in] → [N, D_out] of each layer, the skills mixed in."""
        if self._weight is None:
            return [product(layer, x) for layer in self._layers]
        out = F.linear(x, self._weight, self._bias)
        parts = out.split_with_sizes(self._sizes, -1)
        if not any(self._hooks):
            return parts
        return [_mixed(*each, x) for each in zip(self._layers, parts, strict=True)]


def product(layer: Any, x: Tensor) -> Tensor:
    """What `layer` makes of `x`, the skills mixed in: its module, but for a plain `nn.Linear`.

    No hook but those of a `MixedModel` is heard there.
    """
    if type(layer) is not nn.Linear:
        out: Tensor = layer(x)
        return out
    own: Any = layer._parameters
    return _mixed(layer, F.linear(x, own["weight"], own["bias"]), x)


def _mixed(layer: Any, out: Tensor, x: Tensor) -> Tensor:
    for mix in layer._forward_hooks.values():
        mixed = mix(layer, (x,), out)
        out = out if mixed is None else mixed
    return out


def _alike(weights: Sequence[Tensor]) -> bool:
    return len({(weight.dtype, weight.device, weight.shape[1:]) for weight in weights}) == 1


def _joined(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One tensor of which the parameters are parts, one below the other."""
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

"""The arithmetic of the mixed forward: stack the skills, then two thin products.

For row b with weights g[b, k]:

    y[b] = W x[b] + Σ_k g[b,k] · s_k · B_k (A_k x[b])        A_k: [r_k, D_in], B_k: [D_out, r_k]

With A = [A_1; …; A_K] [R, D_in] and B = [s_1 B_1, …, s_K B_K] [D_out, R] the sum over skills is
B (scale ⊙ A x), where `scale` repeats g[b, k] r_k times: no loop over adapters, any ranks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from loramix.adapter import Adapter, LoraModule

Paths = tuple[str | None, ...]
"""Layers that read the same; None is one without skills."""

Columns = tuple[int, ...]
"""To which active skill each rank of a stack belongs."""

_KEPT = 4
"""How many sets of active skills keep their stacks after their scope is gone."""

_KEPT_BYTES = 256 << 20
"""That the stacks of earlier sets may take together, and those of all sets while nothing runs."""


class SkillTensors(nn.Module):
    """One adapter's tensors, beside the layers that they belong to.

    Args:
        adapter: where they come from; it is not changed by training.
        trainable: whether they get gradients. Half-precision tensors then become float32,
            because small steps would vanish in their few bits. Frozen ones are held in no wider
            dtype than the layer computes in: half the room, and the base's own rounding.
        layers: path → the base's layer, which gives the device and that dtype.
    """

    def __init__(self, adapter: Adapter, trainable: bool, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.config = dict(adapter.config)
        self.trainable = trainable
        self.index = {path: i for i, path in enumerate(adapter.modules)}
        self.scalings = {path: module.scaling for path, module in adapter.modules.items()}
        self.embeddings = {path for path, module in adapter.modules.items() if module.embedding}
        self.A = nn.ParameterList()
        self.B = nn.ParameterList()
        for path, module in adapter.modules.items():
            device = next(layers[path].parameters()).device
            widest = torch.float32 if trainable else _dtype(layers[path])
            self.A.append(_parameter(module.A, trainable, device, widest))
            self.B.append(_parameter(module.B, trainable, device, widest))

    @property
    def rank(self) -> int:
        """The largest rank of any layer."""
        return max((a.shape[0] for a in self.A), default=0)

    def module(self, path: str) -> LoraModule:
        """The LoRA of one layer, on the live tensors."""
        i = self.index[path]
        return LoraModule(self.A[i], self.B[i], self.scalings[path], path in self.embeddings)

    @property
    def dropout(self) -> float:
        """Dropout on what goes into A; only skills that train have any."""
        return float(self.config.get("lora_dropout") or 0.0) if self.trainable else 0.0


def _dtype(layer: nn.Module) -> torch.dtype:
    """What a layer computes in; the weights of an int8 one are whole numbers, its scales tell."""
    tensors = (*layer.parameters(), *layer.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def _parameter(
    tensor: torch.Tensor, trainable: bool, device: torch.device, widest: torch.dtype
) -> nn.Parameter:
    # Tensors born in inference mode could never take part in training later.
    with torch.inference_mode(False):
        value = tensor.detach().to(device)
        if value.itemsize > widest.itemsize:
            value = value.to(widest)
        if trainable and value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
        if trainable or value.is_inference():
            value = value.clone()
        return nn.Parameter(value, requires_grad=trainable)


class Stack(NamedTuple):
    """The active skills at one layer.

    Attributes:
        a: [R, D_in]
        b: [D_out, R], scalings included.
        scale: [B, R] float32, or None where every weight is 1.
        versions: of the trained tensors that it was made from; a step makes it stale.
    """

    a: torch.Tensor
    b: torch.Tensor
    scale: torch.Tensor | None
    versions: tuple[int, ...]


class Together(NamedTuple):
    """The active skills at layers that read the same input.

    Attributes:
        a: [D_in, R], Aᵀ of one layer beside those of another.
        scale: [B, R] float32, or None where every weight is 1.
        parts: of each layer with skills its place among the layers, its columns of `a`, and its
            Bᵀ [R of the layer, D_out], scalings included.
    """

    a: torch.Tensor
    scale: torch.Tensor | None
    parts: tuple[tuple[int, slice, torch.Tensor], ...]


class Kept:
    """What frozen skills look like together, the same for all batches that mix them.

    Attributes:
        pairs: (layer, dtype) → stacked A and B; written by `put`.
        together: (layers, dtype) → the stack but for its scale, and what its ranks belong to; None
            where no skill covers them. It is made of the tensors of `pairs`.
        columns: layer → what its ranks belong to.
        bytes: of all tensors.
        token: tells it from all others, and holds no memory.
    """

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = {}
        self.bytes = 0  # counted as they come: it is asked for whenever a batch changes
        self.together: dict[tuple[Paths, torch.dtype], tuple[Together, Columns] | None] = {}
        self.columns: dict[str, Columns] = {}
        self.token = object()

    def put(self, path: str, dtype: torch.dtype, a: torch.Tensor, b: torch.Tensor) -> None:
        """Keep the stacked A and B of a layer, instead of those that it had."""
        old = self.pairs.get((path, dtype), ())
        self.bytes += a.nbytes + b.nbytes - sum(tensor.nbytes for tensor in old)
        self.pairs[path, dtype] = a, b


class KeptSets:
    """What is kept for the latest few sets of active skills, bounded in sets and in bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, ...], Kept] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Of all stacks; the skills that they were made of take theirs besides."""
        return sum(kept.bytes for kept in list(self._kept.values()))  # any thread may ask

    def of(self, active: tuple[str, ...]) -> Kept:
        """What is kept of a set, which is now the latest."""
        kept = self._kept.setdefault(active, Kept())
        self._kept.move_to_end(active)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._trim(_KEPT_BYTES + kept.bytes)  # a batch is mixed from it, whatever it takes
        return kept

    def rest(self) -> bool:
        """Keep what may be kept while nothing is mixed; says whether that is less than before."""
        return self._trim(_KEPT_BYTES)

    def forget(self, name: str) -> None:
        """Drop the sets that hold one skill."""
        for active in [active for active in self._kept if name in active]:
            del self._kept[active]

    def clear(self) -> None:
        """Drop all sets."""
        self._kept.clear()

    def _trim(self, most: int) -> bool:
        """Drop the oldest sets until the others take at most so many bytes."""
        before = len(self._kept)
        while self.bytes > most:
            self._kept.popitem(last=False)
        return len(self._kept) < before


def stack_skills(
    modules: Sequence[LoraModule], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """A = [A_1; …; A_K] [R, D_in] and B = [s_1 B_1, …, s_K B_K] [D_out, R], both in `dtype`."""
    a = torch.cat([m.A.to(dtype) for m in modules])
    # Scaled before the cast, so that B rounds once.
    wide = [m.B.to(torch.promote_types(m.B.dtype, torch.float32)) * m.scaling for m in modules]
    return a, torch.cat([b.to(dtype) for b in wide], dim=1)


def by_columns(matrix: torch.Tensor) -> torch.Tensor:
    """The same matrix, stored so that the thin float32 products on a CPU run faster."""
    return matrix.t().contiguous().t()


def add_mix(x: torch.Tensor, output: torch.Tensor, stack: Stack, rows: int) -> torch.Tensor:
    """output + B (scale ⊙ A x), all tokens at once.

    Without gradients the sum is written into `output`, which must be the caller's own.

    Args:
        x: what went into the layer, [B, T, D_in] or flattened over B and T; of embeddings int64
            tokens [B, T], of which each is a column of A.
        output: what the layer made of it, [B, T, D_out] or flattened alike.
        stack: the active skills, in the dtype of `output`, or without gradients also in float32.
        rows: B.

    Returns:
        The sum, shaped and typed as `output`.
    """
    a, b, scale, _ = stack
    if not x.is_floating_point():
        h = functional.embedding(x.reshape(-1), a.t())  # [B·T, R]
    else:
        # also float32 tokens that meet bfloat16 layers under autocast
        h = torch.mm(x.to(a.dtype).reshape(-1, a.shape[1]), a.t())
    flat = output.reshape(-1, b.shape[0])
    if torch.is_grad_enabled():
        if scale is not None:
            h = (h.view(rows, -1, a.shape[0]) * scale[:, None]).to(h.dtype).view_as(h)
        # under autocast the sum is in half precision, which embeddings are not
        return torch.addmm(flat, h, b.t()).to(output.dtype).view_as(output)
    if scale is not None:  # in place: multiplied in float32, rounded once
        h.view(rows, -1, a.shape[0]).mul_(scale[:, None])
    if a.dtype != output.dtype:
        return flat.add_(torch.mm(h, b.t())).view_as(output)
    return flat.addmm_(h, b.t()).view_as(output)


def add_together(x: torch.Tensor, outputs: Sequence[torch.Tensor], stack: Together) -> None:
    """The same for layers that read the same, one token a row and without gradients.

    A decoding step of a small base is mostly the calls themselves, so A x is one product for all
    layers, and nothing is brought into another shape.

    Args:
        x: what went into the layers, [B, D_in].
        outputs: what each layer made of it, [B, D_out]; the mix is written into them.
        stack: the active skills.
    """
    h = torch.mm(x if x.dtype == stack.a.dtype else x.to(stack.a.dtype), stack.a)
    add_ranks(h, outputs, stack, stack.scale)


def add_ranks(
    h: torch.Tensor,
    outputs: Sequence[torch.Tensor],
    stack: Together,
    scale: torch.Tensor | None,
) -> None:
    """The second half of `add_together`: outputs + B (scale ⊙ h).

    Args:
        h: A x, [B, R]; it is written into.
        outputs: as for `add_together`.
        stack: the active skills.
        scale: [B, R] float32, or None where every weight is 1.
    """
    if scale is not None:  # in place: multiplied in float32, rounded once
        h.mul_(scale)
    for place, ranks, b in stack.parts:
        if h.dtype == outputs[place].dtype:
            outputs[place].addmm_(h[:, ranks], b)
        else:
            outputs[place].add_(torch.mm(h[:, ranks], b))


def drop_rows(x: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """Dropout with a rate for each row.

    Args:
        x: [B, T, D_in] or flattened over B and T.
        rates: [B]
    """
    kept = 1 - rates.to(x.device)[:, None, None]
    rows = x.reshape(rates.shape[0], -1, x.shape[-1])
    mask = (torch.rand_like(rows, dtype=torch.float32) < kept) / kept
    return (rows * mask.to(x.dtype)).view_as(x)

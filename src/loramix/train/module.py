"""The forward pass of training: the mixed base, and the loss on completions only."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from loramix.data.batches import IGNORED, TokenRow
from loramix.mixed import MixedModel
from loramix.train.batches import Batch, build_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainModule(nn.Module):
    """A mixed base as the Trainer sees it: a batch in, one summed loss for each skill out.

    The base stays in eval mode, so its own dropout never runs; dropout of the LoRA does.

    Args:
        mixed: the base with the skills that train.
        autocast: compute in bfloat16 although the base is in float32.
        checkpointing: compute layers again in the backward pass instead of keeping them.
        pad_id: any token; only to try out what the base can do.

    Attributes:
        packs: the base takes packed rows and computes for each example what it would alone.
        slices: the head takes picked positions only, so that no logits are computed for the
            prompt; a small model does much of its work there.
    """

    def __init__(
        self, mixed: MixedModel, *, autocast: bool, checkpointing: bool, pad_id: int
    ) -> None:
        super().__init__()
        self.mixed = mixed
        self.autocast = autocast
        self._again: list[nn.Module] = []
        self._picks: torch.Tensor | None = None
        head = mixed.base.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._hook = None if head is None else head.register_forward_pre_hook(self._pick)
        self.packs = self.slices = False
        self.packs, self.slices = self._try_packing(pad_id), self._try_slicing(pad_id, head)
        if checkpointing:
            mixed.activation_checkpointing_enable({"use_reentrant": False})
            # Only the older, reentrant kind needs gradients from the embeddings on.
            mixed.base.disable_input_require_grads()
            self._again = [m for m in mixed.base.modules() if hasattr(m, "gradient_checkpointing")]

    @property
    def base(self) -> PreTrainedModel:
        """The frozen base."""
        return self.mixed.base

    @property
    def device(self) -> torch.device:
        """Where the base is."""
        return self.base.device

    def train(self, mode: bool = True) -> TrainModule:
        """Switches the LoRA's dropout and the checkpointing; the base stays in eval mode."""
        self.training = self.mixed.training = mode
        for layer in self._again:
            layer.training = mode
        return self

    def close(self) -> None:
        """Leaves the base as it was."""
        if self._hook is not None:
            self._hook.remove()
        if self._again:
            self.train(False)
            base: Any = self.base
            if hasattr(base, "activation_checkpointing_disable"):
                base.activation_checkpointing_disable()
            else:  # its name in older releases of transformers
                base.gradient_checkpointing_disable()
        for name in self.mixed.names:
            self.mixed.remove(name)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed cross-entropy of each skill's completion tokens in nats, [K] float32."""
        logits = self.logits(batch)
        losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        sums = torch.zeros(len(batch.names), device=losses.device)
        return sums.index_add(0, batch.owners, losses)

    def logits(self, batch: Batch) -> torch.Tensor:
        """The logits at the picked positions, [M, V]."""
        more: dict[str, torch.Tensor] = {}
        if batch.mask is not None and batch.position_ids is not None:
            # As numbers to add, because eager attention does not take booleans.
            hidden = torch.zeros(batch.mask.shape, dtype=self.base.dtype, device=batch.mask.device)
            lowest = torch.finfo(self.base.dtype).min
            more["attention_mask"] = hidden.masked_fill_(~batch.mask, lowest)
            more["position_ids"] = batch.position_ids
        scope: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if batch.names:
            scope = self.mixed.using(batch.weights, batch.names)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)
        self._picks = batch.picks if self.slices else None
        try:
            with scope, autocast:
                logits = self.base(input_ids=batch.input_ids, use_cache=False, **more).logits
        finally:
            self._picks = None
        return logits if self.slices else logits.flatten(0, 1)[batch.picks]

    def _pick(self, head: nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
        """Hook before the head: [B, T, D] → the picked positions, [M, D]."""
        return None if self._picks is None else (args[0].flatten(0, -2)[self._picks], *args[1:])

    @torch.no_grad()
    def _try_packing(self, pad_id: int) -> bool:
        rows = [_sample(length, pad_id) for length in (5, 9, 4)]
        together = build_batch({"": rows}, pad_id)
        try:
            found = self._plain(together).float()
            # Packed longest first; one row each gives them in the same order.
            alone = build_batch({"": [rows[i] for i in (1, 0, 2)]}, pad_id, packed=False)
            expected = self._plain(alone).float()
        except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError):
            return False  # this architecture has no such masks or positions
        share = 1e-4 if self.base.dtype == torch.float32 else 3e-2
        return bool((found - expected).abs().max() <= share * expected.abs().max())

    @torch.no_grad()
    def _try_slicing(self, pad_id: int, head: nn.Module | None) -> bool:
        covered = {path for name in self.mixed.names for path in self.mixed.adapter(name).modules}
        if head is None or any(self.base.get_submodule(path) is head for path in covered):
            return False  # a LoRA on the head wants whole rows
        batch = build_batch({"": [_sample(9, pad_id), _sample(5, pad_id)]}, pad_id, packed=False)
        expected = self._plain(batch)
        self.slices = True
        try:
            found = self._plain(batch)
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
            return False  # this architecture wants its logits as a rectangle
        finally:
            self.slices = False
        if found.shape != expected.shape:
            return False
        share = 1e-5 if self.base.dtype == torch.float32 else 1e-2
        return bool((found - expected).abs().max() <= share * expected.abs().max())

    def _plain(self, batch: Batch) -> torch.Tensor:
        """Logits of the base alone, without autocast, so that they can be compared."""
        autocast, self.autocast = self.autocast, False
        try:
            return self.logits(replace(batch, names=()).to(self.device))
        finally:
            self.autocast = autocast


def _sample(length: int, pad_id: int) -> TokenRow:
    """A row of low token ids that exist in every vocabulary, all of it to be learned."""
    ids = [1 + (7 * t + length) % 23 for t in range(length)]
    ids = [i + (i == pad_id) for i in ids]
    return TokenRow(ids, [IGNORED, *ids[1:]])


def per_token(sums: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Mean losses [K] from summed ones [K] and the tokens that they are of."""
    return sums / torch.tensor(counts, dtype=sums.dtype, device=sums.device).clamp_min(1)

"""The forward pass of training: the mixed base, and the loss on completions only."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from loramix.base.widen import multiplies_bf16
from loramix.data.batches import IGNORED, TokenRow
from loramix.mixed import MixedModel
from loramix.train.batches import Batch, build_batches
from loramix.train.room import MIB, room_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

_SHORT = 256
"""Rows up to this length may keep all their attention weights in memory."""


class TrainModule(nn.Module):
    """A mixed base as the Trainer sees it: a batch in, one summed loss for each lesson out.

    The base stays in eval mode, so its own dropout never runs; dropout of the LoRA does. What
    is changed of the base for the sake of speed, `close` puts back.

    Args:
        mixed: the base with the skills that train.
        bf16: compute in bfloat16 although the base is in float32. Without it a base in bfloat16 is
            widened to float32 where the processor has no products in bfloat16.
        checkpointing: compute layers again in the backward pass instead of keeping them.
        longest: tokens of the longest row.
        pad_id: any token; only to try out what the base can do.
        noise_alpha: uniform noise of ±alpha / √(T·D) on the embeddings of a batch of T tokens in D
            dimensions, in training only (NEFTune, Jain et al. 2023, arXiv 2310.05914, algorithm 1).
        room: bytes that may be taken, half of them by widened weights; None for what is free.

    Attributes:
        widened: bytes that widened weights take.
        slices: the head takes picked positions only, so that no logits are computed for the
            prompt; a small model does much of its work there.
    """

    def __init__(
        self,
        mixed: MixedModel,
        *,
        bf16: bool,
        checkpointing: bool,
        longest: int,
        pad_id: int,
        noise_alpha: float = 0.0,
        room: float | None = None,
    ) -> None:
        super().__init__()
        self.mixed = mixed
        self._undo = contextlib.ExitStack()
        self._again: list[nn.Module] = []
        self._picks: torch.Tensor | None = None
        self.slices = self.autocast = False
        self.widened = 0
        try:
            self.slices = self._slice(pad_id)
            if bf16 and self.base.dtype == torch.float32:
                self.autocast = not self._cast()
            elif not bf16 and _is_slow(self.base):
                self._widen(room_of(self.device, None) if room is None else room)
            if longest <= _SHORT:
                self._attend_plainly()
            if checkpointing:
                self._checkpoint()
            if noise_alpha:
                self._add_noise(noise_alpha)
        except BaseException:
            self.close()
            raise

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
        self.training = self.mixed.training = self.mixed.skills.training = mode
        for layer in self._again:
            layer.training = mode
        return self

    def close(self) -> None:
        """Leaves the base as it was."""
        self.train(False)
        self._undo.close()
        for name in self.mixed.names:
            self.mixed.remove(name)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed cross-entropy of each lesson's completion tokens in nats, [N] float32."""
        logits = self.logits(batch)
        losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        sums = torch.zeros(len(batch.names), device=losses.device)
        return sums.index_add(0, batch.owners, losses)

    def logits(self, batch: Batch) -> torch.Tensor:
        """The logits at the picked positions, [M, V]."""
        scope: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if batch.skills:
            scope = self.mixed.using(batch.weights, batch.skills)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)
        self._picks = batch.picks if self.slices else None
        try:
            with scope, autocast:
                logits: torch.Tensor = self.base(input_ids=batch.input_ids, use_cache=False).logits
        finally:
            self._picks = None
        return logits if self.slices else logits.flatten(0, 1)[batch.picks]

    # ── what is done to the base, and undone ─────────────────────────────────────────────────

    def _add_noise(self, alpha: float) -> None:
        """Lets the embeddings tremble while the module trains."""

        def noisy(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
            if not self.training:
                return output
            size = alpha / math.sqrt(output.shape[-2] * output.shape[-1])
            return output + torch.empty_like(output).uniform_(-size, size)

        hook = self.base.get_input_embeddings().register_forward_hook(noisy)
        self._undo.callback(hook.remove)

    @torch.no_grad()
    def _slice(self, pad_id: int) -> bool:
        """Lets the head see picked positions only, [M, D] instead of [B, T, D], if it may."""
        self.slices = self.autocast = False
        head = self.base.get_output_embeddings()  # type: ignore[no-untyped-call]
        covered = {path for name in self.mixed.names for path in self.mixed.adapter(name).modules}
        if head is None or any(self.base.get_submodule(path) is head for path in covered):
            return False  # a LoRA on the head wants whole rows
        hook = head.register_forward_pre_hook(self._pick)
        self._undo.callback(hook.remove)
        rows = [_sample(9, pad_id), _sample(5, pad_id)]
        batch = replace(build_batches({"": rows}, pad_id)[0], skills=()).to(self.device)
        expected = self.logits(batch)
        self.slices = True
        try:
            found = self.logits(batch)
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
            return False  # this architecture wants its logits as a rectangle
        finally:
            self.slices = False
        if found.shape != expected.shape:
            return False
        share = 1e-5 if self.base.dtype == torch.float32 else 1e-2
        return bool((found - expected).abs().max() <= share * expected.abs().max())

    def _pick(self, head: nn.Module, args: tuple[torch.Tensor, ...]) -> Any:
        """Hook before the head: [B, T, D] → the picked positions, [M, D]."""
        return None if self._picks is None else (args[0].flatten(0, -2)[self._picks], *args[1:])

    def _cast(self) -> bool:
        """Puts the base's weights into bfloat16, if no bit is lost; says whether it did.

        Autocast would cast them in each pass, and compute the rest in float32: on two cores with
        the pocket base it does 2,200 tokens in the time in which cast weights do 4,200.
        """
        params = list(self.base.parameters())
        if not all(torch.equal(p, p.bfloat16().float()) for p in params):
            return False
        self._undo.callback(_convert, params, torch.float32)
        _convert(params, torch.bfloat16)
        return True

    def _widen(self, room: float) -> None:
        """Puts bfloat16 weights into float32 where the processor cannot multiply them.

        torch has no library for their backward products there: one of 512 rows with weights of
        2048 by 5632 takes 45 s on a Zen 3 core, and 0.12 s in float32.
        """
        params = [p for p in self.base.parameters() if p.dtype == torch.bfloat16]
        need = sum(p.numel() for p in params) * torch.float32.itemsize
        if need > room / 2:
            log.warning(
                "the base stays in bfloat16, in which this processor trains very slowly: in "
                "float32 it would take %.0f MiB, and half of what may be taken is %.0f MiB",
                need / MIB,
                room / 2 / MIB,
            )
            return
        # Those of a file that is mapped take no memory, and stay so.
        self._undo.callback(_put, params, [p.data for p in params])
        _convert(params, torch.float32)
        self.widened = need

    def _attend_plainly(self) -> None:
        """Takes matrix products for attention, where torch's fused one is slow.

        Its backward pass in bfloat16 on a CPU takes three to five times as long as theirs.
        """
        config, before = self.base.config, self.base.config._attn_implementation
        narrow = self.autocast or self.base.dtype == torch.bfloat16
        if self.device.type == "cpu" and narrow and before == "sdpa":
            config._attn_implementation = "eager"
            self._undo.callback(setattr, config, "_attn_implementation", before)

    def _checkpoint(self) -> None:
        self.mixed.activation_checkpointing_enable({"use_reentrant": False})
        # Only the older, reentrant kind needs gradients from the embeddings on.
        self.base.disable_input_require_grads()  # type: ignore[no-untyped-call]
        self._again = [m for m in self.base.modules() if hasattr(m, "gradient_checkpointing")]
        base: Any = self.base
        if hasattr(base, "activation_checkpointing_disable"):
            self._undo.callback(base.activation_checkpointing_disable)
        else:  # its name in older releases of transformers
            self._undo.callback(base.gradient_checkpointing_disable)


def _is_slow(base: PreTrainedModel) -> bool:
    """Whether its weights are in bfloat16 on a processor without products for it."""
    return base.dtype == torch.bfloat16 and base.device.type == "cpu" and not multiplies_bf16()


def _convert(params: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
    """Changes weights where they are; not by `.to`, which would round buffers of positions too."""
    for param in params:
        param.data = param.data.to(dtype)


def _put(params: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    for param, value in zip(params, values, strict=True):
        param.data = value


def _sample(length: int, pad_id: int) -> TokenRow:
    """A row of low token ids that exist in every vocabulary, all of it to be learned."""
    ids = [1 + (7 * t + length) % 23 for t in range(length)]
    ids = [i + (i == pad_id) for i in ids]
    return TokenRow(ids, [IGNORED, *ids[1:]])


def per_token(sums: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Mean losses [N] from summed ones [N] and the tokens that they are of."""
    return sums / torch.tensor(counts, dtype=sums.dtype, device=sums.device).clamp_min(1)

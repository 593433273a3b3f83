"""A frozen base in memory, and what to do when its device fails."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from loramix.errors import BaseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def _now(work: Callable[[], Any]) -> Any:
    return work()


class DeviceWarning(UserWarning):
    """The accelerator could not do the work; the CPU does it."""


@dataclass
class Base:
    """A frozen causal LM with its tokenizer.

    Attributes:
        id: what the user called it: `pocket`, a Hugging Face id or a path.
        path: the folder it was read from; None for a model made in memory.
        model: frozen and in eval mode.
        tokenizer: its tokenizer; pads on the left.
        fingerprint: sha256 of its configuration and weights as stored; adapters are tied to it.
        device: where the model is.
        dtype: that it computes in; its weights' too, unless they are int8.
        int8: whether its linear layers hold int8 weights, rounded from those that were stored.
        turn: does work that runs layers of the model, and gives what that gives; where an engine
            uses the same model, it does it between two steps.
    """

    id: str
    path: Path | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    int8: bool = False
    turn: Callable[[Callable[[], Any]], Any] = _now

    @property
    def precision(self) -> str:
        """How its weights are held: fp32, bf16, fp16 or int8."""
        if self.int8:
            return "int8"
        short = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
        name = str(self.dtype).removeprefix("torch.")
        return short.get(name, name)

    def require_full_weights(self, work: str) -> None:
        """Raises BaseError if the weights are not those that were stored.

        Args:
            work: what needs them, as the beginning of a sentence.
        """
        if self.int8:
            raise BaseError(
                f"{work} needs the full weights of the base.",
                given=f"{self.id}, loaded as int8",
                expected="weights in fp32 or bf16",
                hint="load the base with dtype auto, fp32 or bf16; its skills fit both",
            )

    @property
    def max_length(self) -> int:
        """Tokens of prompt and completion together that fit into the context."""
        config = self.model.config.get_text_config()
        for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"):
            value = getattr(config, key, None)
            if isinstance(value, int) and value > 0:
                return value
        stated = int(self.tokenizer.model_max_length)
        return stated if stated < 1_000_000 else 2048

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a completion; the first is the one that training writes."""
        ends: list[int] = []
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        listed = configured if isinstance(configured, list) else [configured]
        for token in [self.tokenizer.eos_token_id, *listed]:
            if token is not None and token not in ends:
                ends.append(int(token))
        return tuple(ends)

    @property
    def pad_id(self) -> int:
        """The token that fills short rows; its value never matters, since it is masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else (self.eos_ids[0] if self.eos_ids else 0)

    def to_cpu(self, reason: BaseException) -> None:
        """Move to the CPU because the accelerator failed, and warn once."""
        _warn_cpu(self.device, reason)
        self.model.to(torch.device("cpu"))  # type: ignore[arg-type]
        self.device = torch.device("cpu")


def device_failed(error: BaseException) -> bool:
    """Whether `error` says that an accelerator is absent, broken or out of memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # torch reports an absent or broken driver as an AssertionError or a plain RuntimeError
    text = str(error)
    named = any(word in text for word in ("CUDA", "cuda", "HIP", "NVIDIA", "MPS", "cuBLAS"))
    return isinstance(error, (RuntimeError, AssertionError)) and named


def _warn_cpu(device: torch.device, reason: BaseException) -> None:
    first_line = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
    warnings.warn(
        f"{device} cannot do the work ({first_line}); going on with the CPU", DeviceWarning, 3
    )


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over all tensors of a model in memory: equal before and after means untouched."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()

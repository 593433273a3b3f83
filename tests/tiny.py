"""Tiny random models for tests: a few thousand parameters, made in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from loramix.adapter import Adapter, LoraSettings, init_adapter

VOCAB = 97
HIDDEN = 32
POSITIONS = 64

_LLAMA = {
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
_SHAPES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,  # biases on q, k and v
    "qwen3": {**_LLAMA, "head_dim": 8},
    "gpt2": {"n_embd": HIDDEN, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},  # Conv1D
    "gpt_neox": {**_LLAMA, "num_key_value_heads": 4},  # q, k and v in one layer
    "opt": {
        "hidden_size": HIDDEN,
        "word_embed_proj_dim": HIDDEN,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS,
    },
}
ARCHITECTURES = tuple(_SHAPES)


def make_tiny(
    arch: str = "llama", dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random causal LM of the architecture, in eval mode.

    Args:
        arch: one of `ARCHITECTURES`, or another that is shaped like a Llama.
        dtype: of all its weights.
        seed: of its weights; the global random state stays as it was.
        changes: settings of the config that shall differ.
    """
    settings: dict[str, Any] = {
        "vocab_size": VOCAB,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        # Wide enough that logits differ by more than rounding does.
        "initializer_range": 0.15,
        **_SHAPES.get(arch, _LLAMA),
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **settings))
    return model.to(dtype).eval()


def random_adapter(
    model: nn.Module, settings: LoraSettings | None = None, seed: int = 0
) -> Adapter:
    """An adapter that visibly changes the model: A as at the start of training, B random; of
    embeddings, where B is random and A zero at the start, both."""
    fresh = init_adapter(model, settings or LoraSettings(r=4, alpha=8), seed)
    random = torch.Generator().manual_seed(seed + 1000)
    modules = {
        path: replace(
            module,
            A=torch.randn(module.A.shape, generator=random) if module.embedding else module.A,
            B=torch.randn(module.B.shape, generator=random) * 0.1,
        )
        for path, module in fresh.modules.items()
    }
    return Adapter(modules, fresh.config)


def token_ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Random tokens [rows, length], none of them special."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (rows, length), generator=random)

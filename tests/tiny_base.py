"""A tiny base with a real tokenizer: a byte-level BPE with 300 entries, made in milliseconds."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from loramix.base import Base, fingerprint_files, weights_hash
from tiny import make_tiny

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
_TEXT = ["the cat sat on the mat and the dog sat on the cat", "add two and two to get four"]


@functools.cache
def _bpe() -> str:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        _TEXT,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=_SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return bpe.to_str()


def make_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer that spells any text; with or without a chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe()),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """One as Llama's: ▁ is a blank, which is stripped first of all, and bytes spell the rest."""
    plain = ["▁", "▁the", "▁a", "cat", "a", "é", "▁你"]
    vocab = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *plain]
    ids = {token: place for place, token in enumerate(vocab)}
    bpe = Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    bpe.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def make_base(
    arch: str = "llama",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    chat: bool = True,
    **changes: Any,
) -> Base:
    """A base in memory, with the tokenizer of `make_tokenizer`."""
    tokenizer = make_tokenizer(chat)
    changes = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, **changes}
    model = make_tiny(arch, dtype=dtype, seed=seed, **changes).requires_grad_(False)
    return Base(
        id=f"tiny-{arch}",
        path=None,
        model=model,
        tokenizer=tokenizer,
        fingerprint=weights_hash(model),
        device=torch.device("cpu"),
        dtype=dtype,
    )


def save_base(folder: Path, **settings: Any) -> Base:
    """Write a tiny base into a folder as a user would have it."""
    base = make_base(**settings)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    base.path, base.fingerprint = folder, fingerprint_files(folder)
    return base

"""The bases that are measured: shapes with random weights, made on the fly.

Speed depends on shapes and not on what the weights say, so a benchmark needs no download.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import torch

from loramix.adapter import Adapter, LoraModule, LoraSettings, init_adapter
from loramix.base import Base
from loramix.bench.measure import quiet

_SPECIAL = ("<pad>", "<s>", "</s>")


class Shape(NamedTuple):
    """A Llama's measures.

    Attributes:
        width, inner: of the hidden state, and inside the feed-forward part.
        layers, heads, shared_heads: of attention; `shared_heads` have the keys and values.
        vocabulary: how many tokens.
        context: the most tokens of a row.
        tied: whether the head is the table of embeddings.
    """

    width: int
    inner: int
    layers: int
    heads: int
    shared_heads: int
    vocabulary: int
    context: int
    tied: bool


SHAPES = {
    "pocket": Shape(256, 704, 6, 8, 4, 4096, 1024, False),
    "31m": Shape(512, 1408, 8, 8, 4, 8192, 2048, True),
    "tinyllama": Shape(2048, 5632, 22, 32, 4, 32_000, 2048, False),
}


def write_base(shape: Shape, folder: Path, seed: int = 0) -> Path:
    """Write a base of random weights as a user would have it, in bfloat16 safetensors.

    Args:
        shape: its measures.
        folder: where it goes; made where it is missing.
        seed: of its weights; the global random state stays as it was.

    Raises:
        OSError: the disk is full or does not let us write.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.shared_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        dtype="bfloat16",
    )
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.bfloat16)  # a wide model never stands in memory in float32
        try:
            with quiet():
                LlamaForCausalLM(config).save_pretrained(folder)
        finally:
            torch.set_default_dtype(before)
    _write_tokenizer(shape.vocabulary, folder)
    return folder


def _write_tokenizer(vocabulary: int, folder: Path) -> None:
    """A byte-level tokenizer that has a text for every id: letters, pairs, triples."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: place for place, token in enumerate([*_SPECIAL, *alphabet])}
    letters = [letter for letter in alphabet if letter.isascii()]
    pairs = itertools.product(letters, letters)
    triples = itertools.product((a + b for a, b in itertools.product(letters, letters)), letters)
    merges: list[tuple[str, str]] = []
    for one, other in itertools.chain(pairs, triples):
        if len(tokens) >= vocabulary:
            break
        tokens[one + other] = len(tokens)
        merges.append((one, other))
    bpe = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    kind: Any = PreTrainedTokenizerFast
    made = kind(tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    made.save_pretrained(folder)


def random_adapter(base: Base, seed: int, rank: int = 16) -> Adapter:
    """An adapter on q and v that changes something, in the dtype that skills of `base` have.

    Args:
        base: whose layers it fits.
        seed: of its weights.
        rank: of each layer.
    """
    made = init_adapter(base.model, LoraSettings(r=rank, alpha=2 * rank), seed)
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for path, module in made.modules.items():
        b = torch.randn(module.B.shape, generator=generator) * 0.05
        modules[path] = LoraModule(module.A.bfloat16(), b.bfloat16(), module.scaling)
    return Adapter(modules, made.config)

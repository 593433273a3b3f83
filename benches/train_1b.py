"""Claim: a skill on a base of TinyLlama's shape trains on a CPU in at most 12 GB.

1.1B random weights in bfloat16 in a temporary folder, q and v, r 16, rows of up to 512 tokens, a
few steps; then PEFT loads the adapter, and its logits are compared with those of the mixed model.

    python benches/train_1b.py [--steps 3] [--batch 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from loramix.adapter import LoraSettings, write_adapter
from loramix.base import load_base
from loramix.config import TrainConfig
from loramix.data import Example
from loramix.mixed import MixedModel
from loramix.train import SkillJob, train_skills
from loramix.train.room import peak_rss_mb

LENGTH = 512


def make_base(folder: Path) -> None:
    """TinyLlama's shape with random weights, and a byte-level tokenizer."""
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet)
    )
    PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def main() -> None:
    """Trains, compares with PEFT, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_base(folder / "base")
        base = load_base(str(folder / "base"))
        lengths = [LENGTH - 20 - 7 * i for i in range(options.batch * 2)]
        examples = [Example("x" * n, "yes" if n % 2 else "no") for n in lengths]
        config = TrainConfig(
            max_steps=options.steps, batch_size=options.batch, max_length=LENGTH, lr=2e-3
        )
        job = SkillJob("skill", examples, (), LoraSettings.model_validate({"r": 16}))
        start = time.monotonic()
        result = train_skills(base, [job], config, folder / "out")["skill"]
        seconds = time.monotonic() - start
        peak = peak_rss_mb()
        ids = torch.randint(5, 200, (1, 16))
        mixed = MixedModel(base.model)
        mixed.add("skill", result.adapter)
        with torch.no_grad(), mixed.using(torch.ones(1, 1), ["skill"]):
            ours = base.model(ids).logits.float()
        mixed.remove("skill")
        write_adapter(result.adapter, folder / "adapter")
        peft = PeftModel.from_pretrained(base.model, str(folder / "adapter")).eval()
        with torch.no_grad():
            theirs = peft(ids).logits.float()
    report = {
        "parameters": sum(p.numel() for p in base.model.parameters()),
        "dtype": str(base.dtype),
        "losses": result.losses,
        "tokens": result.tokens,
        "seconds": seconds,
        "tokens_per_second": result.tokens / result.seconds,
        "peak_rss_mb": peak,
        "peft_difference": float((ours - theirs).norm() / theirs.norm()),
    }
    if options.json:
        json.dump(report, sys.stdout)
    else:
        print("\n".join(f"{key}: {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()

"""Decode-shaped mixed forward: base, 8 different skills in one batch, full blends, and PEFT.

Claim: blending 8 rank-16 skills on q and v in every row costs little beside the base, and less
than PEFT's `adapter_names`, which runs one adapter for each row.

    python benches/bench_mixed.py [--dtype bfloat16] [--rows 8] [--rounds 30] [--json]

One token for each of 8 rows on a 31M-parameter Llama shape with a filled KV cache. All
candidates run in turn within each round, so that a noisy machine disturbs them alike; medians
and ratios of medians are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from loramix.adapter import Adapter, LoraModule, LoraSettings, init_adapter, write_adapter
from loramix.mixed import MixedModel

SKILLS = 8
PROMPT_TOKENS = 64
TOKENS = 8
"""Decoding steps timed as one piece."""


def make_model(dtype: torch.dtype) -> LlamaForCausalLM:
    """31M parameters, random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def make_adapter(model: LlamaForCausalLM, seed: int) -> Adapter:
    """Rank 16 on q and v, random B, in the dtype of the model."""
    fresh = init_adapter(model, LoraSettings(r=16, alpha=32), seed)
    modules = {
        path: LoraModule(m.A.to(model.dtype), (torch.randn_like(m.B) * 0.05).to(model.dtype), 2.0)
        for path, m in fresh.modules.items()
    }
    return Adapter(modules, fresh.config)


def decode(model: torch.nn.Module, ids: torch.Tensor, **extra: object) -> float:
    """Seconds for `TOKENS` steps after a prompt."""
    cache = DynamicCache(config=model.config)
    model(ids, past_key_values=cache, use_cache=True, **extra)
    token = ids[:, :1]
    start = time.perf_counter()
    for _ in range(TOKENS):
        model(token, past_key_values=cache, use_cache=True, **extra)
    return time.perf_counter() - start


def peft_model(dtype: torch.dtype, adapters: list[Adapter]) -> torch.nn.Module | None:
    """The same base with the same adapters in PEFT, where that is installed."""
    try:
        from peft import PeftModel
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for k, adapter in enumerate(adapters):
            write_adapter(adapter, Path(folder) / f"s{k}")
        options = {"autocast_adapter_dtype": False}  # as fast as PEFT can be
        model = PeftModel.from_pretrained(
            make_model(dtype), f"{folder}/s0", adapter_name="s0", **options
        )
        for k in range(1, len(adapters)):
            model.load_adapter(f"{folder}/s{k}", f"s{k}", **options)
    return model.eval()


def candidates(dtype: torch.dtype, rows: int) -> dict[str, Callable[[], float]]:
    """What is timed, by name; each call decodes once."""
    base = make_model(dtype)
    mixed = MixedModel(make_model(dtype))
    adapters = [make_adapter(base, seed) for seed in range(SKILLS)]
    for k, adapter in enumerate(adapters):
        mixed.add(f"s{k}", adapter)
    ids = torch.randint(3, 8192, (rows, PROMPT_TOKENS))
    own = torch.eye(SKILLS)[torch.arange(rows) % SKILLS]
    scopes = {
        "loramix, mix of nothing": mixed.using(torch.zeros(rows, SKILLS)),
        "loramix, one skill for all": mixed.using(torch.eye(SKILLS)[torch.zeros(rows).long()]),
        "loramix, 8 skills, one a row": mixed.using(own),
        "loramix, 8-way blend in every row": mixed.using(torch.rand(rows, SKILLS) / SKILLS),
    }

    def in_scope(scope: contextlib.AbstractContextManager[object]) -> Callable[[], float]:
        def run() -> float:
            with scope:
                return decode(mixed.base, ids)

        return run

    timed = {"base": lambda: decode(base, ids), **{n: in_scope(s) for n, s in scopes.items()}}
    theirs = peft_model(dtype, adapters)
    if theirs is not None:
        names = [f"s{b % SKILLS}" for b in range(rows)]
        timed["peft, 8 adapters, one a row"] = lambda: decode(theirs, ids, adapter_names=names)
    return timed


def measure(timed: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds by name, all of them in turn in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(rounds + 2):
        for name, run in timed.items():
            took = run()
            if round_ >= 2:
                seconds[name].append(took)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Times, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with torch.inference_mode():
        medians = measure(candidates(getattr(torch, args.dtype), args.rows), args.rounds)
    report = {
        "dtype": args.dtype,
        "rows": args.rows,
        "threads": torch.get_num_threads(),
        "tokens_per_second": {n: round(args.rows * TOKENS / s, 1) for n, s in medians.items()},
        "ratio": {name: round(seconds / medians["base"], 3) for name, seconds in medians.items()},
    }
    if args.json:
        json.dump(report, sys.stdout)
        return
    out = sys.stdout.write
    out(f"{args.dtype}, {args.rows} rows, {report['threads']} threads, {args.rounds} rounds\n")
    for name in medians:
        rate, ratio = report["tokens_per_second"][name], report["ratio"][name]
        out(f"{name:36} {rate:9.1f} tokens/s   time {ratio:.3f} x base\n")


if __name__ == "__main__":
    main()

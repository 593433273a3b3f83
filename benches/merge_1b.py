"""Claim: five skills of TinyLlama's shape merge in at most 60 seconds and 8 GB.

Five random adapters of 1.1B parameters' q and v (22 layers, rank 16) on disk are read, merged to
rank 64 and written; the base is not needed. Each method runs in turn, in float64.

    python benches/merge_1b.py [--methods linear,ties] [--threads 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from loramix.adapter import Adapter, LoraModule, read_adapter, write_adapter
from loramix.merge import merge_adapters
from loramix.peft_config import plain_config
from loramix.train.room import peak_rss_mb

LAYERS, WIDTH, NARROW, RANK, SKILLS = 22, 2048, 256, 16, 5


def make_adapter(seed: int) -> Adapter:
    """A random adapter on q [2048, 2048] and v [256, 2048] of every layer."""
    random = torch.Generator().manual_seed(seed)
    modules = {
        f"model.layers.{layer}.self_attn.{name}": LoraModule(
            torch.randn(RANK, WIDTH, generator=random) / WIDTH**0.5,
            torch.randn(height, RANK, generator=random) / RANK,
            2.0,
        )
        for layer in range(LAYERS)
        for name, height in (("q_proj", WIDTH), ("v_proj", NARROW))
    }
    config = {**plain_config(RANK, 2 * RANK), "target_modules": ["q_proj", "v_proj"]}
    return Adapter(modules, config)


def main() -> None:
    """Merges, prints seconds and memory of each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="linear,svd,concat,magnitude_prune,ties,dare_ties")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for seed in range(SKILLS):
            write_adapter(make_adapter(seed), folder / str(seed))
        for method in options.methods.split(","):
            start = time.monotonic()
            adapters = {str(seed): read_adapter(folder / str(seed)) for seed in range(SKILLS)}
            expert = merge_adapters(adapters, method=method)
            write_adapter(expert.adapter, folder / method)
            seconds[method] = time.monotonic() - start
    report = {
        "seconds": seconds,
        "peak_rss_mb": peak_rss_mb(),
        "threads": options.threads,
        "met": {name: took <= 60 for name, took in seconds.items()}
        | {"memory": peak_rss_mb() < 8000},
    }
    if options.json:
        json.dump(report, sys.stdout)
    else:
        print("\n".join(f"{key}: {value}" for key, value in report.items()))


if __name__ == "__main__":
    main()

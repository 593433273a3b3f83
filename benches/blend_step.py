"""Claim: a step with a blend in every row keeps 0.85 of the base's speed, 0.95 at 1.1B parameters.

    python benches/blend_step.py [--shape 31m] [--dtype bf16] [--rows 8] [--every 4] [--json]

Two engines over the same weights, one with eight skills of rank 16 on q and v and a two-way blend
in each row, one without skills, take turns of a few steps, so that neither the machine's clock nor
a warm cache favours one of them. `loramix bench mix` has whole rounds, and the peers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from loramix.bench.mix import SKILLS
from loramix.bench.ours import PROMPT, EndlessBase, base_folder, open_base, twin
from loramix.bench.shapes import SHAPES, random_adapter
from loramix.engine import Engine, Limits, Request
from loramix.mixed import MixedModel
from loramix.sampling import Sampling


def begun(base: EndlessBase, mixed: MixedModel | None, mixes: list[str], tokens: int) -> Engine:
    """An engine that has read its prompts."""
    engine = Engine(base, mixed, limits=Limits(max_rows=len(mixes), prefix_bytes=0))
    for mix in mixes:
        engine.submit(Request(PROMPT, mix, Sampling(tokens)))
    read = 0
    while read < len(mixes):
        read += len(engine.step())
    return engine


def turn(engine: Engine, steps: int) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    for _ in range(steps):
        engine.step()
    return (time.perf_counter() - start) / steps


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="31m", choices=SHAPES)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--every", type=int, default=4, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = range(args.rows)
    blends = [f"s{row % SKILLS}=0.6,s{(row + 1) % SKILLS}=0.4" for row in rows]
    plain, mixing, ratios = list[float](), list[float](), list[float]()
    with base_folder(None, args.shape) as (id, shown):
        base = open_base(id, args.dtype)
        ours = twin(base)
        mixed = MixedModel(ours.model)
        for place in range(SKILLS):
            mixed.add(f"s{place}", random_adapter(base, place))
        tokens = args.every * args.turns + 2
        for count in range(args.rounds + 1):
            one = begun(ours, mixed, blends, tokens)
            other = begun(base, None, ["base"] * args.rows, tokens)
            for _ in range(args.turns):
                blended, bare = turn(one, args.every), turn(other, args.every)
                if count:  # the first round warms up
                    mixing.append(blended)
                    plain.append(bare)
                    ratios.append(bare / blended)
            one.close()
            other.close()
    found = {
        "base": shown,
        "dtype": args.dtype,
        "rows": args.rows,
        "milliseconds": {
            "base": 1e3 * statistics.median(plain),
            "blends": 1e3 * statistics.median(mixing),
        },
        "ratio": statistics.median(ratios),
    }
    if args.json:
        json.dump(found, sys.stdout)
        return
    for key, value in found.items():
        sys.stdout.write(f"{key}: {value}\n")


if __name__ == "__main__":
    main()

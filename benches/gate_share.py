"""Measures gate time as a share of the time in which the prompts are read.

    python benches/gate_share.py [--library DIR] [--requests 16] [--json]

Requests of three lengths with mix=auto, eight at once and without a prefix cache. The first request
of all is not counted: it makes the gate.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gate_data import say, table

from loramix.base import load_base
from loramix.engine import Engine, Limits, Request
from loramix.library import Library
from loramix.sampling import Sampling

SENTENCE = "The delivery was fast but the switch is broken. "
LENGTHS = (1, 8, 20)
"""Sentences before what is asked."""


def main() -> None:
    """Prints a row for each length, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, help="without it the one that ships")
    parser.add_argument("--requests", type=int, default=16, help="of each length")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    library = Library.shipped() if args.library is None else Library.open(args.library)
    base = load_base(library.base_id)
    limits = Limits(max_rows=8, prefix_bytes=0)
    lengths = []
    with Engine(base, library=library, router="gate", limits=limits) as engine:
        engine.submit(Request("What is 20% of 240?", "auto", Sampling(1))).result()
        for sentences in LENGTHS:
            before = engine.stats()
            handles = [
                engine.submit(Request(f"{SENTENCE * sentences}Sum it up {i}.", "auto", Sampling(1)))
                for i in range(args.requests)
            ]
            for handle in handles:
                handle.result()
            after = engine.stats()
            gate = after.gate_seconds - before.gate_seconds
            prompt = after.prompt_seconds - before.prompt_seconds
            lengths.append(
                {
                    "tokens": len(handles[0].prompt_ids),
                    "gate_seconds": gate / args.requests,
                    "prompt_seconds": prompt / args.requests,
                    "gate_share": gate / prompt,
                }
            )
    if args.json:
        say(json.dumps({"base": base.id, "requests": args.requests, "lengths": lengths}))
        return
    rows = [
        [
            str(found["tokens"]),
            f"{1e3 * found['gate_seconds']:.2f}",
            f"{1e3 * found['prompt_seconds']:.2f}",
            f"{found['gate_share']:.3f}",
        ]
        for found in lengths
    ]
    say(table(["prompt tokens", "gate, ms", "prompt, ms", "share"], rows))


if __name__ == "__main__":
    main()

"""Gate accuracy on real prompts: fitted on shared/data/*/train.jsonl, measured on dev.jsonl.

    python benches/gate_real.py [--base pocket] [--count 2000] [--json]

The raw text is the prompt, with no instruction added. Prompts of no skill come from the pocket
tasks. The other routers stand in the same table.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from gate_data import SHARED, real_texts, say, table

from loramix.base import load_base
from loramix.evaluate import evaluate_router
from loramix.gate import CentroidRouter, RoutedExample, learn_gate
from loramix.pocket.tasks import NONE


def main() -> None:
    """Prints a table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--count", type=int, default=2000, help="texts of each data set")
    parser.add_argument("--features", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"no shared data at {SHARED}; set LORAMIX_SHARED")
    base = load_base(args.base, device="cpu")
    train, dev = real_texts("train", args.count, args.seed), real_texts("dev", args.count)
    examples = [RoutedExample(text, {name: 1.0}) for name, own in train.items() for text in own]
    examples += [RoutedExample(e.prompt) for e in NONE.examples("train", 400, args.seed)]
    none = [example.prompt for example in NONE.examples("test", 200, args.seed)]
    start, cpu = time.perf_counter(), time.process_time()
    gate = learn_gate(base, examples, tuple(train), features=args.features, seed=args.seed)
    fit = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    centroid = CentroidRouter(gate.extractor, gate.skills).fit_memory(gate.memories, gate.none)
    result = {"base": args.base, "count": len(examples), "threads": torch.get_num_threads(), **fit}
    rows = []
    for router in (gate, gate.words, centroid):
        start = time.perf_counter()
        report = evaluate_router(router, dev, none)
        milliseconds = 1000 * (time.perf_counter() - start) / (report["n"] + len(none))
        kept = {key: report[key] for key in ("accuracy", "low", "high", "ece", "none_auroc")}
        result[router.name] = {**kept, "ms": milliseconds}
        rows.append([router.name, *kept.values(), milliseconds])
    if args.json:
        say(json.dumps(result))
    else:
        say(table(["router", "accuracy", "low", "high", "ECE", "none AUROC", "ms"], rows))
        say(f"\n{len(examples)} prompts, fitted in {fit['cpu_seconds']:.0f} s of one core")


if __name__ == "__main__":
    main()

"""How long the whole evaluation of the shipped library takes, and how well the routed system does.

    python benches/eval_pocket.py [--limit 100] [--threads 2]

All five tasks, each system (base, five skills, three routers with three policies each), composites
and routers, nothing kept from before. The bars: 240 seconds on two cores, and 0.92 for the mean of
the tasks when the gate chooses.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys

SECONDS, ACCURACY = 240, 0.92


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="examples of each task")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    import torch

    from loramix.commands.evaluate import evaluate

    torch.set_num_threads(given.threads)
    told = evaluate(limit=given.limit, seed=given.seed, use_cache=False, device="cpu")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    means = told["multi_domain"]["systems"]
    routed = means["routed"]
    figures = {
        "seconds": round(told["seconds"], 1),
        "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 1),
        "threads": given.threads,
        "examples": given.limit,
        "answers": told["answers"]["computed"],
        "tokens": told["answers"]["computed_tokens"],
        "phases": {name: round(took, 1) for name, took in told["phases"].items()},
        "multi_domain": {name: round(row["score"], 4) for name, row in means.items()},
        "routed_interval": [round(routed["low"], 4), round(routed["high"], 4)],
        "tasks": {
            name: {key: round(row[key], 4) for key in ("base", "skill", "routed")}
            for name, row in told["tasks"].items()
        },
        "gate": {key: round(told["routing"]["gate"][key], 4) for key in ("accuracy", "ece")},
        "composites": {
            name: round(told["composites"][name], 4) for name in ("base", "top1", "chain", "blend")
        },
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    met = told["seconds"] <= SECONDS and routed["score"] >= ACCURACY
    sys.stdout.write(
        f"{told['seconds']:.0f} s (bar {SECONDS}), routed {routed['score']:.3f} (bar {ACCURACY}): "
        f"{'met' if met else 'missed'}\n"
    )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

"""Claim: a new skill takes nothing from the earlier ones; one adapter trained on does.

The five pocket tasks, learned one after another: each as a skill of its own in a library, and all
by one adapter of the same shape that goes on from task to task with the same rows. After each
task all tasks so far are scored on held-out examples.

    python benches/forgetting.py [--examples 1500] [--epochs 1] [--test 100] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from gate_data import say, table

from loramix.base import load_base
from loramix.demo.settings import DemoSettings
from loramix.evaluate.forgetting import measure_forgetting
from loramix.pocket.tasks import BRIEF
from loramix.train import SkillJob


def main() -> None:
    """Prints two tables, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1500, help="of each task")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    settings = DemoSettings()
    base = load_base("pocket")
    jobs = [
        SkillJob(name, task.examples("train", args.examples, args.seed), (), settings.lora)
        for name, task in BRIEF.items()
    ]
    config = settings.train.model_copy(
        update={"epochs": args.epochs, "batch_size": 16, "seed": args.seed}
    )
    start = time.monotonic()

    def told(what: str, done: int, total: int) -> None:
        print(f"{done}/{total} {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        found = measure_forgetting(
            base, jobs, BRIEF, config, Path(folder), n=args.test, seed=args.seed, stage=told
        )
    result = found.to_dict() | {"seconds": time.monotonic() - start, "examples": args.examples}
    if args.json:
        say(json.dumps(result))
        return
    for way in ("loramix", "one_adapter"):
        say(f"\n{way}: scores after each task")
        rows = [
            [after, *(f"{stage[name]:.2f}" if name in stage else "" for name in found.tasks)]
            for after, stage in zip(found.tasks, result[way], strict=True)
        ]
        say(table(["after", *found.tasks], rows))
    say(f"\nearlier skills moved {found.moved:.3f}, their files unchanged: {found.unchanged}")
    say(f"one adapter lost up to {found.fell:.2f} of a task; {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()

"""Claim: several skills in one run score what each scores by itself, in less time.

The pocket tasks on one base, all in one run and one after another, with the same data, steps and
seeds; each skill is scored on held-out examples after both. Processor seconds are given beside
the wall clock's, because they hardly depend on what else the machine does.

    python benches/train_together.py [--base pocket] [--skills sentiment,qa] [--steps 150]
                                     [--examples 1000] [--test 100] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loramix.adapter import LoraSettings
from loramix.base import Base, load_base
from loramix.config import TrainConfig
from loramix.evaluate import evaluate_skills
from loramix.pocket.tasks import TASKS
from loramix.train import SkillJob, train_skills


def measure(
    base: Base, jobs: list[SkillJob], config: TrainConfig, test: int, together: bool
) -> dict[str, Any]:
    """Trains and scores; seconds are those of the training alone."""
    with tempfile.TemporaryDirectory() as place:
        wall, processor = time.monotonic(), time.process_time()
        results = train_skills(base, jobs, config, Path(place), together)
        wall, processor = time.monotonic() - wall, time.process_time() - processor
    scores: dict[str, float] = {}
    if test:
        adapters = {name: result.adapter for name, result in results.items()}
        tasks = {name: TASKS[name] for name in results}
        found = evaluate_skills(base, adapters, tasks, ("skill",), test)
        scores = {name: row["skill"]["score"] for name, row in found.items()}
    tokens = sum(result.tokens for result in results.values())
    return {
        "seconds": wall,
        "processor_seconds": processor,
        "tokens": tokens,
        "tokens_per_second": tokens / wall,
        "losses": {name: result.losses[-1] for name, result in results.items()},
        "scores": scores,
    }


def main() -> None:
    """Measures both ways and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--skills", default=",".join(TASKS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    base = load_base(options.base)
    config = TrainConfig(max_steps=options.steps, batch_size=options.batch, lr=4e-3, max_length=256)
    lora = LoraSettings.model_validate({})
    jobs = [
        SkillJob(name, TASKS[name].examples("train", options.examples, 0), (), lora)
        for name in options.skills.split(",")
    ]
    warm_up = config.model_copy(update={"max_steps": 2})
    measure(base, jobs[:1], warm_up, 0, True)
    each = measure(base, jobs, config, options.test, False)
    one_run = measure(base, jobs, config, options.test, True)
    gaps = [abs(one_run["scores"][n] - score) for n, score in each["scores"].items()]
    report = {
        "together": one_run,
        "one_by_one": each,
        "ratio": {
            "seconds": one_run["seconds"] / each["seconds"],
            "processor_seconds": one_run["processor_seconds"] / each["processor_seconds"],
        },
        "largest_score_gap": max(gaps, default=None),
    }
    if options.json:
        json.dump(report, sys.stdout)
    else:
        print(json.dumps(report, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()

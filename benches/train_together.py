"""Claims: several skills in one run score what each scores by itself, in less time; processes
that share them out take less again.

The pocket tasks on one base, one after another, all in one run, and in one run shared out among
processes, with the same data, steps and seeds; each skill is scored on held-out examples after
each. Processor seconds are given beside the wall clock's, because they hardly depend on what
else the machine does.

    python benches/train_together.py [--base pocket] [--skills sentiment,qa] [--steps 150]
                                     [--examples 1000] [--test 100] [--workers 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from loramix.adapter import LoraSettings
from loramix.base import Base, load_base
from loramix.config import TrainConfig
from loramix.evaluate import evaluate_skills
from loramix.pocket.tasks import BRIEF
from loramix.train import SkillJob, train_skills


def measure(
    base: Base, jobs: list[SkillJob], config: TrainConfig, test: int, together: bool
) -> dict[str, Any]:
    """Trains and scores; seconds are those of the training alone."""
    with tempfile.TemporaryDirectory() as place:
        wall, processor = time.monotonic(), _processor_seconds()
        results = train_skills(base, jobs, config, Path(place), together)
        wall, processor = time.monotonic() - wall, _processor_seconds() - processor
    scores: dict[str, float] = {}
    if test:
        adapters = {name: result.adapter for name, result in results.items()}
        tasks = {name: BRIEF[name] for name in results}
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


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main() -> None:
    """Measures all ways and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--skills", default=",".join(BRIEF))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="processes of the third way")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    base = load_base(options.base)
    config = TrainConfig(
        max_steps=options.steps, batch_size=options.batch, lr=4e-3, max_length=256, workers=1
    )
    lora = LoraSettings.model_validate({})
    jobs = [
        SkillJob(name, BRIEF[name].examples("train", options.examples, 0), (), lora)
        for name in options.skills.split(",")
    ]
    warm_up = config.model_copy(update={"max_steps": 2})
    measure(base, jobs[:1], warm_up, 0, True)
    each = measure(base, jobs, config, options.test, False)
    one_run = measure(base, jobs, config, options.test, True)
    shared = config.model_copy(update={"workers": options.workers})
    shared_out = measure(base, jobs, shared, options.test, True)
    gaps = [
        abs(way["scores"][name] - score)
        for way in (one_run, shared_out)
        for name, score in each["scores"].items()
    ]
    report = {
        "one_by_one": each,
        "together": one_run,
        "shared_out": shared_out,
        "ratio": {
            key: {
                "together": one_run[key] / each[key],
                "shared_out": shared_out[key] / each[key],
                "shared_out_to_together": shared_out[key] / one_run[key],
            }
            for key in ("seconds", "processor_seconds")
        },
        "largest_score_gap": max(gaps, default=None),
    }
    if options.json:
        json.dump(report, sys.stdout)
    else:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

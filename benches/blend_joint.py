"""A small adapter that stands beside every blend of skills that were trained apart.

    python benches/blend_joint.py [--library DIR] [--rows 200] [--test 100] [--steps 300]

The base and the skills stay as they are. One new adapter, the joint one, learns on `--rows`
composites of each kind under mixes near half and half, itself with weight 1. Afterwards the gate
chooses the mix of each prompt, and where that holds several skills the joint adapter is added. A
mix of one skill does without it, so that skills alone are as before, bit for bit; single-skill
prompts can only change where the gate gives them two skills, which is measured too.

gate    the mix that the gate chooses
named   half of each of the two skills, named by hand
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gate_data import say, table

from loramix.adapter import Adapter, LoraSettings
from loramix.base import Base, load_base
from loramix.config import TrainConfig
from loramix.data import Example
from loramix.evaluate import Answers, difference_of, mixed_model, score_of
from loramix.evaluate.composites import both_right
from loramix.gate import make_policy, read_gate, route
from loramix.library import Library
from loramix.mix import Mix
from loramix.pocket.tasks import COMPOSITES, TASKS
from loramix.train import SkillJob, train_skills, with_mixes

JOINT = "joint"


def learned(
    base: Base, adapters: dict[str, Adapter], kinds: Sequence[str], args: argparse.Namespace
) -> Adapter:
    """The joint adapter, from composites of `kinds` and rows of single tasks."""
    job = SkillJob(
        JOINT,
        rows_of(kinds, "train", args.rows, args.singles, args.seed),
        rows_of(kinds, "dev", max(8, args.rows // 10), 0, args.seed),
        LoraSettings(r=args.rank, alpha=2 * args.rank, target_modules="all-linear"),
    )
    config = TrainConfig(
        max_steps=args.steps, lr=args.lr, batch_size=16, eval_every=50, patience=0, seed=args.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        return train_skills(base, [job], config, folder, frozen=adapters)[JOINT].adapter


def rows_of(kinds: Sequence[str], split: Any, count: int, singles: int, seed: int) -> list[Example]:
    """Composites with mixes near half and half, and single tasks' rows under mixes of two."""
    rows = []
    for kind in kinds:
        halves = dict.fromkeys(COMPOSITES[kind].skills, 0.5)
        some = COMPOSITES[kind].answerable(split, count, seed)
        for own, other in (tuple(halves), tuple(halves)[::-1]) if singles else ():
            one = TASKS[own].examples(split, singles, seed)
            some += [replace(row, mix={own: 0.6, other: 0.4}) for row in one]
        rows += with_mixes(some, halves, seed)
    return [replace(row, mix={**(row.mix or {}), JOINT: 1.0}) for row in rows]


def beside(mix: Mix) -> Mix:
    """The mix with the joint adapter where it holds several skills."""
    return Mix.of({**mix.weights, JOINT: 1.0}) if len(mix.weights) > 1 else mix


def main() -> None:
    """Prints tables, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library")
    parser.add_argument("--kinds", nargs="+", default=list(COMPOSITES), choices=list(COMPOSITES))
    parser.add_argument("--rows", type=int, default=200, help="composites of each kind to learn")
    parser.add_argument("--singles", type=int, default=0, help="and rows of each skill alone")
    parser.add_argument("--steps", type=int, default=300, help="of 16 rows")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--test", type=int, default=100, help="requests of each kind and task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    library = Library.open(args.library) if args.library else Library.shipped()
    base = load_base(library.base_id, "cpu")
    library.check_base(base)
    adapters = {name: skill.adapter(base) for name, skill in library.skills.items()}
    began = time.perf_counter()
    joint = learned(base, adapters, args.kinds, args)
    seconds = time.perf_counter() - began
    sys.stderr.write(f"learned in {seconds:.0f} s\n")
    answers = Answers(base, mixed_model(base, {**adapters, JOINT: joint}))
    router, policy = read_gate(library, base), make_policy(library)

    def routed(prompts: Sequence[str]) -> list[Mix]:
        return [routing.mix for routing in route(router, prompts, policy)]

    composites, tasks = {}, {}
    for kind, composite in COMPOSITES.items():
        held = composite.answerable("test", args.test, args.seed)
        prompts = [row.prompt for row in held]
        mixes, named = routed(prompts), [Mix.of(dict.fromkeys(composite.skills, 0.5))] * len(held)
        row: dict[str, Any] = {
            "two": sum(mix.weights.keys() == set(composite.skills) for mix in mixes) / len(mixes)
        }
        systems = {
            "gate": mixes,
            "gate+joint": list(map(beside, mixes)),
            "named": named,
            "named+joint": list(map(beside, named)),
        }
        for system, each in systems.items():
            texts = [done.text for done in answers(prompts, each, composite.max_new_tokens)]
            score = score_of(both_right(composite.score_parts(held, texts)), args.seed)
            row[system] = [score.mean, score.low, score.high]
        composites[kind] = row
    for name, task in TASKS.items():
        held = task.examples("test", args.test, args.seed)
        prompts = [row.prompt for row in held]
        mixes = routed(prompts)
        values = [
            task.score_many(held, [d.text for d in answers(prompts, each, task.max_new_tokens)])
            for each in (mixes, list(map(beside, mixes)))
        ]
        change = difference_of(values[1], values[0], args.seed)
        tasks[name] = {
            "several": sum(len(mix.weights) > 1 for mix in mixes) / len(mixes),
            "gate": sum(values[0]) / len(held),
            "gate+joint": sum(values[1]) / len(held),
            "change": [change.mean, change.low, change.high],
        }
    if args.json:
        result = {"composites": composites, "tasks": tasks, "parameters": joint.num_parameters}
        say(json.dumps({**result, "settings": vars(args), "seconds": seconds}))
        return
    names = ("gate", "gate+joint", "named", "named+joint")
    lines = [
        (kind, row["two"], *("{:.2f} ({:.2f} to {:.2f})".format(*row[name]) for name in names))
        for kind, row in composites.items()
    ]
    say(table(("both right", "the gate gives the two", *names), lines))
    cells = [
        (name, row["several"], row["gate"], row["gate+joint"], "{:+.3f}".format(row["change"][0]))
        for name, row in tasks.items()
    ]
    say("\n" + table(("skill", "given several", "gate", "gate+joint", "change"), cells))
    say(f"\nthe joint adapter: {joint.num_parameters} numbers, learned in {seconds:.0f} s")


if __name__ == "__main__":
    main()

"""How much does the gate learn from a handful of corrected routings, and what does it forget?

    python benches/feedback.py [--library DIR] [--seeds 1,2,3] [--counts 5,15,40]

Corrections are prompts by other hands (`strangers/first.jsonl`): `count` of them as they come, or
`count` of those that the gate misroutes. Measured on the rest of that file, on a second writer's
prompts, on the tasks' own test prompts, and on the memories' held-out rows.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch

from loramix.base import load_base
from loramix.gate import LearnedGate, RoutedExample, read_gate, targets_of
from loramix.gate.memory import Rows
from loramix.library import Library
from loramix.pocket.tasks import NONE, TASKS

FOLDER = Path(__file__).with_name("strangers")


def rows_of(gate: LearnedGate, examples: list[RoutedExample]) -> Rows:
    features = gate.extractor.features([example.prompt for example in examples])
    return Rows(features.half(), targets_of(examples, gate.skills))


def strangers(gate: LearnedGate, name: str) -> Rows:
    found = []
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        row = json.loads(line)
        needs = {row["skill"]: 1.0} if row["skill"] in gate.skills else {}
        found.append(RoutedExample(row["prompt"], needs))
    return rows_of(gate, found)


def share(gate: LearnedGate, rows: Rows) -> float:
    return float(gate.right(rows).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--library", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--counts", default="5,15,40")
    given = parser.parse_args()
    torch.set_num_threads(1)
    library = Library.open(given.library) if given.library else Library.shipped()
    base = load_base(library.base_id, device="cpu")
    gate = read_gate(library, base)
    memories = {name: skill.memory() for name, skill in library.skills.items()}
    first, second = strangers(gate, "first.jsonl"), strangers(gate, "second.jsonl")
    tests = [
        RoutedExample(row.prompt, {name: 1.0})
        for name, task in TASKS.items()
        for row in task.examples("test", 150)
    ]
    tests += [RoutedExample(row.prompt) for row in NONE.examples("test", 150)]
    test, held = rows_of(gate, tests), gate.held_out(memories)
    print("| corrections | they | the rest | second writer | own tests | held out |")
    print("| --- | --- | --- | --- | --- | --- |")
    figures = [share(gate, rows) for rows in (first, second, test, held)]
    print("| none | – | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    misrouted = (~gate.right(first)).nonzero().flatten().tolist()
    for how, pool in (("any", list(range(len(first.features)))), ("misrouted", misrouted)):
        for count in map(int, given.counts.split(",")):
            if count > len(pool) * 2 // 3:
                continue
            for seed in map(int, given.seeds.split(",")):
                taught = random.Random(seed).sample(pool, count)
                mask = torch.zeros(len(first.features), dtype=torch.bool)
                mask[taught] = True
                own, rest = first.take(mask), first.take(~mask)
                new = gate.refit(memories, corrected=own)
                before = [share(gate, rows) for rows in (own, rest)]
                after = [share(new, rows) for rows in (own, rest, second, test, held)]
                cells = [f"{b:.3f} → {a:.3f}" for b, a in zip(before, after, strict=False)]
                cells += [f"{a:.3f}" for a in after[2:]]
                print(f"| {count} {how}, seed {seed} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

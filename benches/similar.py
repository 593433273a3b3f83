"""Are two trainings of one skill found alike, and the five shipped skills not?

    python benches/similar.py [--out DIR] [--skills sentiment,math,code] [--examples 600]

Trains each skill anew on pocket, with other rows and another seed than the shipped one, twice, and
measures both figures of `loramix.similar` between these, the shipped ones, and the other skills;
then the overlap of prompts for fewer prompts (`–` where there are fewer than it takes).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import torch

from loramix.adapter import read_adapter, write_adapter
from loramix.base import Base, load_base
from loramix.demo.settings import DemoSettings
from loramix.gate import read_gate
from loramix.library import Library
from loramix.pocket.tasks import TASKS
from loramix.similar import prompts_overlap, weights_cosine
from loramix.train import SkillJob, train_skills

COUNTS = (20, 40, 60, 120, 250)


def trained(base: Base, skill: str, seed: int, examples: int, out: Path):
    """One skill by the demo's recipe, on rows of its own."""
    if not (out / "adapter_config.json").is_file():
        rows = TASKS[skill].examples("train", examples, seed)
        settings = DemoSettings()
        config = settings.train.model_copy(update={"seed": seed})
        job = SkillJob(skill, rows, lora=settings.lora)
        with tempfile.TemporaryDirectory() as folder:
            write_adapter(train_skills(base, [job], config, folder)[skill].adapter, out)
    return read_adapter(out, base)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("build/similar"))
    parser.add_argument("--skills", default="sentiment,math,code")
    parser.add_argument("--examples", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    base, library = load_base("pocket", device="cpu"), Library.shipped()
    adapters = {(name, 0): library.skill(name).adapter(base) for name in library.skills}
    for skill in given.skills.split(","):
        for seed in (1, 2):
            adapter = trained(base, skill, seed, given.examples, given.out / f"{skill}-{seed}")
            adapters[skill, seed] = adapter
            print(f"trained {skill} with seed {seed}", flush=True)
    print("weights: cosine of ΔW; seed 0 is the shipped skill")
    for first, second in itertools.combinations(adapters, 2):
        same = "same " if first[0] == second[0] else "other"
        print(f"  {same} {first} {second} {weights_cosine(adapters[first], adapters[second]):.3f}")
    gate = read_gate(library, base)
    memories = {name: gate.scaled_features(library.skill(name).memory()) for name in library.skills}
    print("prompts: overlap with the memory of the same skill; with the nearest other one")
    for first, second in itertools.combinations(memories, 2):
        print(
            f"  shipped {first} {second} {prompts_overlap(memories[first], memories[second]):.2f}"
        )
    for count, (name, task) in itertools.product(COUNTS, TASKS.items()):
        same, other = [], []
        for seed in range(11, 15):
            prompts = [row.prompt for row in task.examples("train", count, seed)]
            own = gate.scaled_features(gate.remember(prompts))
            found = {name: prompts_overlap(own, memory) for name, memory in memories.items()}
            same.append(found.pop(name))
            other.append(max(found.values(), key=lambda overlap: overlap or 0.0))
        told = [" ".join("–" if o is None else f"{o:.2f}" for o in line) for line in (same, other)]
        print(f"  {count} of {name}: same {told[0]}, other {told[1]}", flush=True)


if __name__ == "__main__":
    main()

"""What the demo trains on and what it is measured on; the splits share no template or content."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from loramix.adapter import Adapter
from loramix.data import Example
from loramix.demo.settings import DemoSettings
from loramix.gate.kinds import TEXTS
from loramix.gate.phrasings import crossed
from loramix.gate.router import RoutedExample
from loramix.pocket.tasks import COMPOSITES, NONE, TASKS
from loramix.pocket.words import Split
from loramix.train import BlendJob, SkillJob, with_mixes


def skill_jobs(settings: DemoSettings, seed: int) -> list[SkillJob]:
    """What to train: one job for each task."""
    return [
        SkillJob(
            name,
            task.examples("train", settings.train_examples[name], seed),
            task.examples("dev", settings.dev_examples, seed),
            settings.lora,
        )
        for name, task in settings.tasks.items()
    ]


def blend_jobs(
    settings: DemoSettings, adapters: Mapping[str, Adapter], seed: int
) -> tuple[list[SkillJob], list[BlendJob]]:
    """What to teach skills that are trained: requests for two of them, and fresh ones for each."""
    singles = [
        SkillJob(
            name,
            task.examples("train", settings.kept_examples[name], seed + 1),
            task.examples("dev", settings.dev_examples, seed),
            settings.lora,
            start=adapters[name],
        )
        for name, task in settings.tasks.items()
    ]
    blends = []
    for name, count in settings.blends.items():
        composite = COMPOSITES[name]
        mix = dict.fromkeys(composite.skills, 0.5)
        splits: tuple[tuple[Split, int], ...] = (("train", count), ("dev", settings.dev_examples))
        blends.append(
            BlendJob(
                name,
                *(with_mixes(composite.examples(split, n, seed + 1), mix) for split, n in splits),
            )
        )
    return singles, blends


def gate_examples(split: Split, count: int, seed: int) -> list[RoutedExample]:
    """Prompts whose needs are known: `count` of each skill, and of none.

    In all wordings, whatever the skills were taught: a gate learns them in seconds.

    A composite stands between two skills that pull it to either side, and has four times as many.
    To the generators' own prompts come people's requests around texts of another world, one to
    five, so that the gate knows them there, too. The order is random, so that any part of the list
    is a fair sample.
    """
    routed = [
        RoutedExample(example.prompt, {name: 1.0})
        for name, task in TASKS.items()
        for example in task.examples(split, count, seed)
    ]
    routed += [RoutedExample(example.prompt) for example in NONE.examples(split, count, seed)]
    for composite in COMPOSITES.values():
        for example in composite.examples(split, 4 * count, seed):
            routed.append(RoutedExample(example.prompt, example.meta["skills"]))
    kinds = {name: name for name in TASKS}
    routed += crossed(dict.fromkeys(TASKS, TEXTS), kinds, count // 5, seed=seed, paired=0)
    random.Random(seed).shuffle(routed)
    return routed


def held_out_prompts(count: int, seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """Test prompts: skill → `count` prompts; and `count` prompts of none of the skills."""
    skills = {name: _prompts(task.examples("test", count, seed)) for name, task in TASKS.items()}
    return skills, _prompts(NONE.examples("test", count, seed))


def held_out_composites(count: int, seed: int) -> dict[str, tuple[tuple[str, str], list[str]]]:
    """Test requests of each kind that needs two skills: name → (the two, `count` prompts)."""
    return {
        name: (composite.skills, _prompts(composite.examples("test", count, seed)))
        for name, composite in COMPOSITES.items()
    }


def _prompts(examples: Sequence[Example]) -> list[str]:
    return [example.prompt for example in examples]

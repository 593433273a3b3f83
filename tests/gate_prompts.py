"""A gate on a tiny random base, and the prompts that it was fitted on and is measured on."""

from __future__ import annotations

import functools

from loramix.base import Base
from loramix.gate import LearnedGate, RoutedExample, learn_gate
from loramix.pocket.tasks import BRIEF, COMPOSITES, NONE
from loramix.pocket.words import Split
from tiny_base import make_base

SKILLS = ("math", "code", "qa")
MEMORY = 60


@functools.cache
def tiny_base() -> Base:
    """One tiny random base for all tests of the gate, which only read it."""
    return make_base()


@functools.cache
def prompts_of(name: str, split: Split, count: int) -> tuple[str, ...]:
    """Prompts of one pocket task, or of none of them."""
    task = NONE if name == "none" else BRIEF[name]
    return tuple(example.prompt for example in task.examples(split, count))


@functools.cache
def examples_for(skills: tuple[str, ...], split: Split, count: int) -> tuple[RoutedExample, ...]:
    """`count` prompts of each skill, of none, and of each composite they make."""
    routed = [RoutedExample(p, {n: 1.0}) for n in skills for p in prompts_of(n, split, count)]
    routed += [RoutedExample(prompt) for prompt in prompts_of("none", split, count)]
    for composite in COMPOSITES.values():
        if set(composite.skills) <= set(skills):
            for example in composite.examples(split, count):
                routed.append(RoutedExample(example.prompt, example.meta["skills"]))
    return tuple(routed)


@functools.cache
def tiny_gate(skills: tuple[str, ...] = SKILLS) -> LearnedGate:
    """A gate for `skills`; tests must not change it."""
    return learn_gate(tiny_base(), examples_for(skills, "train", 600), skills, memory=MEMORY)

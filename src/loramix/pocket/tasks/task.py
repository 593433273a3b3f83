"""What a pocket task is: a generator of examples with a seed, and a score."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loramix.data import Example
from loramix.pocket.words import Split, bucket

Draw = Callable[[random.Random, Split], Example]
Score = Callable[[Sequence[Example], Sequence[str]], list[float]]

_TRIES_PER_EXAMPLE = 600


@dataclass(frozen=True)
class Task:
    """A task that makes its own data.

    Attributes:
        name: the task's name.
        description: one sentence, as a skill's card shows it.
        draw: makes one example of a split from a random generator.
        score_many: scores texts against their examples, each from 0 to 1.
        max_new_tokens: tokens that the longest completion needs on the pocket base.
        variant_of: the task of which this one draws other requests; empty for none.
    """

    name: str
    description: str
    draw: Draw
    score_many: Score
    max_new_tokens: int = 64
    variant_of: str = ""

    @property
    def skill(self) -> str:
        """What is learned from it."""
        return self.variant_of or self.name

    def examples(self, split: Split, n: int, seed: int = 0) -> list[Example]:
        """`n` distinct examples of `split`; the same seed gives the same list.

        Raises:
            ValueError: the task cannot make that many distinct examples.
        """
        rng = random.Random(f"{self.name}/{split}/{seed}")
        seen: dict[str, Example] = {}
        for _ in range(n * _TRIES_PER_EXAMPLE):
            if len(seen) == n:
                break
            example = self.draw(rng, split)
            # train and dev share templates and words, so a prompt's own bucket parts them
            if split == "test" or (bucket(example.prompt) == "dev") == (split == "dev"):
                seen.setdefault(example.prompt, example)
        if len(seen) < n:
            raise ValueError(f"task {self.name!r} made {len(seen)} of {n} distinct examples")
        return list(seen.values())

    def score(self, example: Example, text: str) -> float:
        """Scores one text, from 0 to 1."""
        return self.score_many([example], [text])[0]


@dataclass(frozen=True)
class Composite:
    """A request that needs two skills at once; each part is scored by itself.

    Attributes:
        name: of the composite.
        skills: the two skills that it needs.
        draw: makes one example; `meta["skills"]` holds the target weights.
        parts: a score for each skill's part of the answer.
    """

    name: str
    skills: tuple[str, str]
    draw: Draw
    parts: Mapping[str, Score]
    max_new_tokens: int = 96

    def examples(self, split: Split, n: int, seed: int = 0) -> list[Example]:
        """As `Task.examples`."""
        return Task(self.name, "", self.draw, lambda _e, t: [0.0] * len(t)).examples(split, n, seed)

    def answerable(self, split: Split, n: int, seed: int = 0) -> list[Example]:
        """The first `n` that have one answer: a question about equations in general has none."""
        count = n
        while True:
            drawn = self.examples(split, count, seed)
            found = [example for example in drawn if not example.meta.get("general")]
            if len(found) >= n:
                return found[:n]
            count += n

    def score_parts(
        self, examples: Sequence[Example], texts: Sequence[str]
    ) -> dict[str, list[float]]:
        """For each skill, the score of its part of every text, from 0 to 1."""
        return {skill: list(score(examples, texts)) for skill, score in self.parts.items()}

"""Which rows of a skill, or of a blend of skills, stand in which step.

The plan of a skill depends on its own rows and the settings, and on nothing else: it is the same
whether the skill is trained by itself or together with others, and the same again when a killed
run is resumed. This is why both ways give the same adapter, up to rounding. Skills with as many
rows get the same order of short and long batches, so that rows of like length meet in a step.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loramix.config import TrainConfig
from loramix.data.batches import IGNORED, TokenRow, token_batches

Micro = list[int]
"""Indices of the rows of one forward pass."""


@dataclass(frozen=True)
class Schedule:
    """One lesson: the whole training of a skill or of a blend, step by step.

    Attributes:
        name: of the skill or the blend.
        rows: its training rows.
        steps: for each optimizer step the row indices of its forward passes; a step of a blend
            may have none.
        warmup: steps in which the learning rate rises.
    """

    name: str
    rows: Sequence[TokenRow]
    steps: list[list[Micro]]
    warmup: int

    def __len__(self) -> int:
        return len(self.steps)

    def learned(self, step: int) -> int:
        """Completion tokens of a step: what its mean loss is the mean of."""
        return sum(completion_tokens(self.rows[i]) for micro in self.steps[step] for i in micro)

    def tokens(self, step: int) -> int:
        """All tokens of a step."""
        return sum(len(self.rows[i]) for micro in self.steps[step] for i in micro)

    def rate(self, step: int) -> float:
        """The learning rate as a share of the highest: a linear rise, then half a cosine to 0.

        lr(t) = (t + 1) / w for t < w, else ½ (1 + cos(π (t - w) / (n - w))), with n steps and
        w of them warm-up (Loshchilov & Hutter, arXiv 1608.03983, without restarts).
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = max(1, len(self) - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - self.warmup) / left)))


def completion_tokens(row: TokenRow) -> int:
    """Tokens of a row that the loss looks at; the first token is never predicted."""
    return sum(label != IGNORED for label in row.labels[1:])


def seed_of(name: str, seed: int) -> int:
    """A skill's own seed for its first weights, whatever its neighbours are."""
    return zlib.crc32(f"{seed}/{name}".encode()) % (1 << 31)


def plan(name: str, rows: Sequence[TokenRow], config: TrainConfig) -> Schedule:
    """The schedule of one skill.

    `max_steps` counts steps whatever the number of rows; without it `epochs` does.
    """
    lengths = [len(row) for row in rows]

    def epoch(number: int) -> list[list[Micro]]:
        micros = token_batches(lengths, config.batch_size, config.seed, number)
        size = config.grad_accum
        return [micros[i : i + size] for i in range(0, len(micros), size)]

    steps = epoch(0)
    total = config.max_steps or max(1, math.ceil(config.epochs * len(steps)))
    number = 1
    while len(steps) < total:
        steps += epoch(number)
        number += 1
    return Schedule(name, rows, steps[:total], math.ceil(config.warmup * total))


def plan_blend(
    name: str, rows: Sequence[TokenRow], config: TrainConfig, spans: Mapping[str, int]
) -> Schedule:
    """The schedule of a blend: its batches, spread evenly over the steps of its skills.

    Args:
        name: of the blend.
        rows: each with a mix.
        config: its epochs and batch size are the blend's too; under `max_steps` it takes no more
            passes than a skill does in these steps.
        spans: skill → steps for which it learns; the blend ends with the first of its skills.
    """
    lengths = [len(row) for row in rows]
    micros: list[Micro] = []
    total, number = None, 0
    while total is None or len(micros) < total:
        micros += token_batches(lengths, config.batch_size, config.seed, number)
        total = total or max(1, math.ceil(config.epochs * len(micros)))
        number += 1
    span = min(spans[skill] for row in rows for skill in row.mix or {} if skill in spans)
    if config.max_steps:
        total = min(total, span * config.grad_accum)
    steps: list[list[Micro]] = [[] for _ in range(span)]
    for i, micro in enumerate(micros[:total]):
        steps[i * span // total].append(micro)
    return Schedule(name, rows, steps, 0)

"""Mixes for the rows of a blend."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from loramix.data.example import Example

SPREAD = 0.3
"""How far the share of a skill may lie from the stated one: a gate's scores vary as much."""


def with_mixes(
    examples: Sequence[Example], weights: Mapping[str, float], seed: int = 0
) -> list[Example]:
    """The examples, each with a mix near `weights`, so that the blend holds for all near ones.

    Args:
        examples: what the skills learn together; one that has a mix keeps it.
        weights: skill → weight, of any sum above 0.
        seed: the same seed gives the same mixes.

    Returns:
        Those without a mix get weights that sum to 1 and are at least about 0.05, of two skills
        each within `SPREAD` of its share.
    """
    rng = random.Random(seed)
    total = sum(weights.values())
    given = []
    for example in examples:
        shifts = [rng.uniform(-SPREAD, SPREAD) for _ in weights]
        middle = sum(shifts) / len(shifts)
        shares = [
            max(0.05, weight / total + (shift - middle))
            for weight, shift in zip(weights.values(), shifts, strict=True)
        ]
        whole = sum(shares)
        mix = {name: round(share / whole, 3) for name, share in zip(weights, shares, strict=True)}
        given.append(replace(example, mix=example.mix or mix))
    return given

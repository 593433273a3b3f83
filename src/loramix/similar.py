"""How alike two skills are: in what their adapters do, and in what they are asked for.

Both limits were set by `benches/similar.py`, between two trainings of one skill and the five that
ship; see docs/log.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from loramix.lora import Adapter, LoraModule

PROMPTS = 0.7
"""Overlap of prompts from which two skills are alike."""
WEIGHTS = 0.1
"""Cosine of ΔW from which they are."""

FEWEST = 60
FOLDS = 5
RIDGE = 0.05


@dataclass(frozen=True)
class Likeness:
    """How like a skill is to another.

    Attributes:
        skill: the other.
        prompts: overlap of what both are asked for, see `prompts_overlap`.
        weights: cosine of their ΔW, see `weights_cosine`; None where one could not be read.
    """

    skill: str
    prompts: float | None
    weights: float | None

    @property
    def alike(self) -> bool:
        """Whether one of the two could do for both."""
        return (self.prompts or 0.0) >= PROMPTS or (self.weights or 0.0) >= WEIGHTS


def find_similar(
    rows: Sequence[Tensor],
    adapter: Adapter,
    memories: Mapping[str, Tensor],
    adapters: Mapping[str, Adapter],
) -> list[dict[str, Any]]:
    """The skills that another is alike, most alike first: `{"skill", "prompts", "weights"}` each.

    Args:
        rows: scaled gate features [N, F] of the skill; where there are several, the one that is
            most like the other skill's counts.
        adapter: of the skill.
        memories: scaled gate features [M, F] of the other skills.
        adapters: of the other skills; those that cannot be read may be missing.
    """
    found = []
    for name, memory in memories.items():
        overlaps = [o for own in rows if (o := prompts_overlap(own, memory)) is not None]
        other = adapters.get(name)
        cosine = None if other is None else weights_cosine(adapter, other)
        found.append(Likeness(name, max(overlaps, default=None), cosine))
    found.sort(key=lambda one: -max(one.prompts or 0.0, one.weights or 0.0))
    return [asdict(likeness) for likeness in found if likeness.alike]


def weights_cosine(first: Adapter, second: Adapter) -> float:
    """Cosine of the two ΔW over all layers of the base, without forming any ΔW.

        ⟨s B A, s' B' A'⟩ = s s' Σ (Bᵀ B') ∘ (A A'ᵀ)        [r, r'] each

    Layers that only one of them has count as 0 for the other. 0 where one of them changes nothing.
    """
    shared = first.modules.keys() & second.modules.keys()
    both = math.fsum(_inner(first.modules[path], second.modules[path]) for path in shared)
    norms = [math.fsum(_inner(m, m) for m in one.modules.values()) for one in (first, second)]
    return both / math.sqrt(norms[0] * norms[1]) if min(norms) > 0 else 0.0


def _inner(first: LoraModule, second: LoraModule) -> float:
    rows = first.A.double() @ second.A.double().T
    columns = first.B.double().T @ second.B.double()
    return first.scaling * second.scaling * float((rows * columns).sum())


def prompts_overlap(first: Tensor, second: Tensor, seed: int = 0) -> float | None:
    """How badly a classifier tells two skills' prompts apart: 0 perfectly, 1 no better than chance.

    A classifier two-sample test (Lopez-Paz & Oquab, 2017): ridge regression on rows of length 1,
    in five folds, and overlap = 2 (1 - balanced accuracy), less one standard error: few prompts
    can hardly be told from any others, and that is no likeness.

    Args:
        first, second: scaled gate features, [N, F] and [M, F].
        seed: of the folds.

    Returns:
        The overlap; None where either has fewer than 60 prompts, which say too little.
    """
    if min(len(first), len(second)) < FEWEST:
        return None
    rows = torch.nn.functional.normalize(torch.cat([first, second]).float(), dim=1)
    sides = torch.cat([torch.ones(len(first)), -torch.ones(len(second))])
    sizes = torch.cat([torch.full((len(s),), float(len(s))) for s in (first, second)])
    products = rows @ rows.T + 1  # [n, n]; the 1 is the intercept
    ridge = torch.diag(RIDGE * 2 * sizes / len(rows))  # each side weighs the same
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    right = torch.zeros(len(rows))
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        fit = torch.cat([order[other::FOLDS] for other in range(FOLDS) if other != fold])
        weights = torch.linalg.solve((products + ridge)[fit][:, fit], sides[fit])
        right[test] = ((products[test][:, fit] @ weights).sign() == sides[test]).float()
    accuracies = [float(right[sides == side].mean()) for side in (1, -1)]
    spread = math.sqrt(
        sum(a * (1 - a) / len(s) for a, s in zip(accuracies, (first, second), strict=True))
    )
    return min(1.0, max(0.0, 2 - sum(accuracies) - spread))

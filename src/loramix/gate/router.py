"""What a router is: prompts in, scores over skills out, and scores become a mix.

    router = make_router("gate", base=base, library=library)
    for routing in route(router, prompts, policy):
        print(routing.mix, routing.scores)

Every implementation passes `tests/test_gate_conformance.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.errors import DataError, PromptError
from loramix.mix import BASE, Mix, Policy, check_skills, policy_mix


@dataclass(frozen=True)
class RoutedExample:
    """A prompt and how much of each skill it needs: `{}` is none of them.

    Several skills are shares, such as `{"code": 0.6, "math": 0.4}`; they are scaled to sum
    to 1 where they are used.
    """

    prompt: str
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Routing:
    """How one prompt was routed.

    Attributes:
        scores: each skill and `base` (none of them); they sum to 1.
        mix: what the policy made of the scores.
        router: name of the router.
        policy: the policy's kind.
        details: what the router can say about its reasons, such as the words it found.
    """

    scores: dict[str, float]
    mix: Mix
    router: str
    policy: str
    details: dict[str, Any] = field(default_factory=dict)


class Router(ABC):
    """Anything that turns prompts into scores over skills.

    Attributes:
        name: how it is called on the command line.
        skills: the skills that it knows, in the order of the columns of its scores.
    """

    name: ClassVar[str]
    skills: tuple[str, ...]

    @abstractmethod
    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        """Learns from prompts whose needs are known; returns itself.

        Args:
            prompts: N texts.
            targets: [N, K + 1] shares, rows sum to 1, the last column is "none of these".

        Raises:
            DataError: the targets do not fit the prompts or the skills.
        """

    @abstractmethod
    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1] float32, rows sum to 1; the last column is `base`.

        Raises:
            PromptError: a prompt is empty.
        """

    def explain(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """What the router can say about each prompt besides its scores."""
        return [{} for _ in prompts]


def route(router: Router, prompts: Sequence[str], policy: Policy | None = None) -> list[Routing]:
    """Routes each prompt: scores, and the mix that `policy` makes of them."""
    return routings_of(router, prompts, router.scores(prompts), policy)


def routings_of(
    router: Router, prompts: Sequence[str], scores: Tensor, policy: Policy | None = None
) -> list[Routing]:
    """What `route` gives for prompts whose scores [B, K + 1] are known already."""
    chosen = policy or Policy()
    names = (*router.skills, BASE)
    routings = []
    for row, detail in zip(scores.tolist(), router.explain(prompts), strict=True):
        named = dict(zip(names, row, strict=True))
        routings.append(Routing(named, policy_mix(named, chosen), router.name, chosen.kind, detail))
    return routings


def targets_of(examples: Sequence[RoutedExample], skills: Sequence[str]) -> Tensor:
    """Targets [N, K + 1] of `examples`: rows sum to 1, the last column is "none of these".

    Raises:
        UnknownSkillError: an example needs a skill that is not in `skills`.
        RecipeError: a weight is negative or not a number, or all are 0.
    """
    targets = torch.zeros(len(examples), len(skills) + 1)
    column = {name: i for i, name in enumerate(skills)}
    for row, example in enumerate(examples):
        mix = Mix.of(example.weights)
        check_skills(mix, skills)
        for name, weight in mix.weights.items():
            targets[row, column[name]] = weight
        if mix.is_base:
            targets[row, -1] = 1.0
    return targets / targets.sum(1, keepdim=True).clamp_min(1e-12)


def check_fit(prompts: Sequence[str], targets: Tensor, skills: Sequence[str]) -> None:
    """Checks what is given to `fit`; raises DataError."""
    shape = (len(prompts), len(skills) + 1)
    if tuple(targets.shape) != shape:
        raise DataError(
            "The gate's targets do not fit its prompts and skills.",
            given=f"shape {tuple(targets.shape)}",
            expected=f"{shape}: prompts × (skills and one column for none of them)",
        )
    if not prompts:
        raise DataError("There are no prompts to learn routing from.")
    sums = targets.sum(1)
    if not torch.isfinite(targets).all() or (targets < 0).any() or (sums - 1).abs().max() > 1e-4:
        raise DataError(
            "The gate's targets are not shares.",
            expected="rows of numbers from 0 to 1 that sum to 1",
        )


def check_prompts(prompts: Sequence[str]) -> None:
    """Raises PromptError if a prompt is empty."""
    for prompt in prompts:
        if not prompt.strip():
            raise PromptError("The prompt is empty.", given=repr(prompt), expected="some text")

"""The fixed router: the same mix for every prompt, whatever it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.gate.router import Router, check_fit, check_prompts
from loramix.mix import Mix, check_skills


class FixedRouter(Router):
    """Scores that do not depend on the prompt.

    Args:
        skills: the skills of the library.
        mix: a mix, or its recipe; its shares are the scores.
        named: mixes that a recipe may name.

    Raises:
        RecipeError: the recipe does not parse.
        UnknownSkillError: the mix holds a skill that is not among `skills`.
    """

    name: ClassVar[str] = "fixed"

    def __init__(
        self,
        skills: Sequence[str],
        mix: Mix | str = "base",
        named: Mapping[str, Mix] | None = None,
    ) -> None:
        self.skills = tuple(skills)
        self.mix = Mix.parse(mix, named) if isinstance(mix, str) else mix
        check_skills(self.mix, self.skills, named or ())

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        """Checks what it is given, and learns nothing; see `Router.fit`."""
        check_fit(prompts, targets, self.skills)
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        """The same row [K + 1] for every prompt; see `Router.scores`."""
        check_prompts(prompts)
        row = torch.tensor([self.mix.weights.get(name, 0.0) for name in self.skills] + [0.0])
        if self.mix.is_base:
            row[-1] = 1.0
        return (row / row.sum()).repeat(len(prompts), 1)

"""Choose the next token of each row.

    Sampling(temperature=0.7, top_p=0.9, seed=1)

A row draws from a generator of its own, so what it says depends neither on the other rows of its
batch nor on when they leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loramix.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How completions are written.

    Attributes:
        max_new_tokens: the most tokens of a completion.
        temperature: 0 is greedy; 1 draws from the model's own distribution.
        top_p: draw from the likeliest tokens that together have this probability.
        top_k: draw from this many likeliest tokens; 0 is all of them.
        seed: makes draws repeatable; row i of a call uses seed + i. None draws anew each time.
        stop: texts that end a completion; they are not part of it.

    Raises:
        UsageError: a value is out of its range.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        for name, fits, expected in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            (
                "temperature",
                math.isfinite(self.temperature) and self.temperature >= 0,
                "0 (greedy) or more",
            ),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("stop", all(self.stop), "texts of at least one character"),
        ):
            if not fits:
                raise UsageError(
                    f"{name} is out of range.", given=repr(getattr(self, name)), expected=expected
                )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def generator(self, row: int) -> torch.Generator:
        """The source of draws of row `row`; on the CPU, so that all devices draw alike."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed((self.seed + row) % 2**63)
        return generator


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """The distribution to draw from, for a temperature above 0.

    First top-k, then temperature, then top-p over what is left (Holtzman et al. 2020): the
    smallest set of likeliest tokens whose probabilities sum to at least `top_p`.

    Args:
        logits: [B, V], any floating dtype.

    Returns:
        [B, V] float32, rows sum to 1.
    """
    scores = logits.float()
    if 0 < sampling.top_k < scores.shape[-1]:
        kept, places = scores.topk(sampling.top_k, dim=-1)
        scores = torch.full_like(scores, -math.inf).scatter(-1, places, kept)
    # the largest becomes 0, so a tiny temperature cannot overflow; float32 has none below 1e-38
    scores = (scores - scores.amax(-1, keepdim=True)) / max(sampling.temperature, 1e-30)
    chances = scores.softmax(-1)
    if sampling.top_p < 1:
        ordered, places = chances.sort(dim=-1, descending=True)
        # a token stays while those before it have not reached top_p: the first always stays
        ordered = ordered * ((ordered.cumsum(-1) - ordered) < sampling.top_p)
        chances = torch.zeros_like(chances).scatter(-1, places, ordered)
        chances = chances / chances.sum(-1, keepdim=True)
    return chances


def choose(logits: Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> list[int]:
    """The next token of each row.

    Args:
        logits: [B, V].
        generators: one for each row; not touched when greedy.

    Returns:
        B token ids.
    """
    if sampling.greedy:
        return [int(token) for token in logits.argmax(-1).tolist()]
    chances = probabilities(logits, sampling).cpu()
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(chances, generators, strict=True)
    ]

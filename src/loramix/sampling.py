"""Choose the next token of each row.

    Sampling(temperature=0.7, top_p=0.9, seed=1)

A row draws from a generator of its own, so what it says depends neither on the other rows of its
batch nor on when they leave.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType
from typing import NamedTuple

import torch
from torch import Tensor

from loramix.errors import UsageError

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "max_new_tokens": ((Integral,), "a whole number"),
    "top_k": ((Integral,), "a whole number"),
    "seed": ((Integral, NoneType), "a whole number, or None"),
    "logprobs": ((Integral, NoneType), "a whole number, or None"),
    "stop_tokens": ((Integral,), "whole numbers"),
    "stop": ((str,), "texts"),
    "temperature": ((Real,), "a number"),
    "top_p": ((Real,), "a number"),
    "min_p": ((Real,), "a number"),
    "repetition_penalty": ((Real,), "a number"),
    "presence_penalty": ((Real,), "a number"),
    "frequency_penalty": ((Real,), "a number"),
}


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
        min_p: draw from tokens at least this many times as likely as the likeliest one.
        repetition_penalty: above 1 makes tokens of prompt and completion less likely.
        presence_penalty: taken from the score of each token that the completion holds.
        frequency_penalty: the same, once for each time that it holds it.
        stop_tokens: token ids that end a completion, besides the base's own.
        logprobs: how many of the likeliest tokens to report with each token; 0 is the chosen
            one alone, None is nothing.

    Raises:
        UsageError: a value is of another kind, or out of its range.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop_tokens: tuple[int, ...] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        self._check_kinds()
        object.__setattr__(self, "stop_tokens", tuple(self.stop_tokens))
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
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            (
                "repetition_penalty",
                math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0,
                "above 0; 1 changes nothing",
            ),
            ("presence_penalty", math.isfinite(self.presence_penalty), "a finite number"),
            ("frequency_penalty", math.isfinite(self.frequency_penalty), "a finite number"),
            ("logprobs", self.logprobs is None or self.logprobs >= 0, "0 or more, or None"),
        ):
            if not fits:
                raise UsageError(
                    f"{name} is out of range.", given=repr(getattr(self, name)), expected=expected
                )

    def _check_kinds(self) -> None:
        """Else what is wrong would be found in the midst of a batch, in words of torch's own."""
        for name, (kinds, expected) in _KINDS.items():
            given = getattr(self, name)
            several = isinstance(given, (tuple, list))
            values = given if several else (given,)
            listed = several == (name in ("stop", "stop_tokens"))
            if not listed or not all(isinstance(value, kinds) for value in values):
                raise UsageError(
                    f"{name} is of another kind.", given=repr(given), expected=expected
                )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def penalizes(self) -> bool:
        """Whether what was written before changes the scores."""
        return bool(self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)

    def generator(self, row: int) -> torch.Generator:
        """The source of draws of row `row`; on the CPU, so that all devices draw alike."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed((self.seed + row) % 2**63)
        return generator


class Draw(NamedTuple):
    """What choosing a row's next token needs.

    Attributes:
        sampling: how.
        generator: where its draws come from; None where it is greedy.
        tokens: prompt and completion so far.
        prompt: how many of `tokens` are the prompt.
    """

    sampling: Sampling
    generator: torch.Generator | None
    tokens: Sequence[int]
    prompt: int


class Logprobs(NamedTuple):
    """Natural logarithms of the model's own probabilities, before penalties and temperature.

    Attributes:
        chosen: of the token that was taken.
        top: (token id, logarithm) of the likeliest tokens, likeliest first.
    """

    chosen: float
    top: tuple[tuple[int, float], ...]


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """The distribution to draw from, for a temperature above 0.

    First top-k, then temperature, then top-p over what is left (Holtzman et al. 2020): the
    smallest set of likeliest tokens whose probabilities sum to at least `top_p`; then min-p
    (Nguyen et al. 2024).

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
        enough = max(sampling.top_p, torch.finfo(torch.float32).tiny)
        ordered = ordered * ((ordered.cumsum(-1) - ordered) < enough)
        chances = torch.zeros_like(chances).scatter(-1, places, ordered)
    if sampling.min_p > 0:
        chances = chances * (chances >= sampling.min_p * chances.amax(-1, keepdim=True))
    if sampling.top_p < 1 or sampling.min_p > 0:
        chances = chances / chances.sum(-1, keepdim=True)
    return chances


def penalize(scores: Tensor, draw: Draw) -> Tensor:
    """Scores [V] float32 of one row, changed by what it holds already.

    A token of prompt or completion has its score divided by the repetition penalty if it is
    above 0, multiplied if below (Keskar et al. 2019). One of the completion loses the presence
    penalty once, and the frequency penalty for each time that it occurs.
    """
    sampling, scores = draw.sampling, scores.clone()
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(draw.tokens)), device=scores.device)
        old = scores[seen]
        penalty = sampling.repetition_penalty
        scores[seen] = torch.where(old > 0, old / penalty, old * penalty)
    counts = Counter(draw.tokens[draw.prompt :])
    if counts and (sampling.presence_penalty or sampling.frequency_penalty):
        written = torch.tensor(list(counts), device=scores.device)
        times = torch.tensor(list(counts.values()), device=scores.device, dtype=scores.dtype)
        scores[written] -= sampling.presence_penalty + sampling.frequency_penalty * times
    # what a penalty made too large for float32 is the largest that there is
    return scores.nan_to_num_(nan=0.0)


def choose_each(logits: Tensor, draws: Sequence[Draw]) -> Sequence[int | Exception | None]:
    """As `choose`; where choosing together fails, each by itself, so that others do not fail too.

    Args:
        logits: [B, V].
        draws: B of them.

    Returns:
        The token of each row, None, or what was raised for it.
    """
    with torch.inference_mode():
        try:
            return choose(logits, draws) if draws else []
        except Exception:
            chosen: list[int | Exception | None] = []
            for row, draw in enumerate(draws):
                try:
                    chosen += choose(logits[row : row + 1], [draw])
                except Exception as error:
                    chosen.append(error)
            return chosen


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[int | None]:
    """The next token of each row; None for a row whose logits are not numbers.

    Args:
        logits: [B, V].
        draws: B of them.
    """
    peaks, best = logits.max(-1)
    tokens: list[int | None] = [
        token if math.isfinite(peak) else None
        for token, peak in zip(best.tolist(), peaks.tolist(), strict=True)
    ]
    alike: dict[tuple[float, float, int, float], list[int]] = {}
    changed: dict[int, Tensor] = {}
    for row, draw in enumerate(draws):
        sampling = draw.sampling
        if tokens[row] is None:
            continue
        if sampling.penalizes:
            changed[row] = penalize(logits[row].float(), draw)
            if sampling.greedy:
                tokens[row] = int(changed[row].argmax())
        if not sampling.greedy:
            key = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p)
            alike.setdefault(key, []).append(row)
    for rows in alike.values():  # one distribution for all rows that draw in the same way
        scores = torch.stack([changed[row] if row in changed else logits[row] for row in rows])
        chances = probabilities(scores, draws[rows[0]].sampling).cpu()
        for row, chance in zip(rows, chances, strict=True):
            tokens[row] = int(torch.multinomial(chance, 1, generator=draws[row].generator))
    return tokens


def logprobs(logits: Tensor, token: int, count: int) -> Logprobs:
    """What to report of one row's logits [V]: the chosen token and the `count` likeliest."""
    logs = logits.float().log_softmax(-1)
    best, ids = logs.topk(min(count, logs.shape[-1]))
    return Logprobs(float(logs[token]), tuple(zip(ids.tolist(), best.tolist(), strict=True)))

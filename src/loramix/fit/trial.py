"""Candidates on the examples: the loss and the score of each, and which of them is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from loramix.data import Example
from loramix.evaluate import Answers, ScoreMany, score_of
from loramix.fit.losses import Losses
from loramix.mix import Mix, weight_matrix

FLIPS = 9999


@dataclass(frozen=True)
class Trial:
    """How candidates did on N examples.

    Attributes:
        mixes: candidate → its mix for each example.
        losses: candidate → nats a token of each example, [N].
        scores: candidate → the score of each answer, from 0 to 1, [N].
    """

    mixes: Mapping[str, Sequence[Mix]]
    losses: Mapping[str, NDArray[np.float64]]
    scores: Mapping[str, NDArray[np.float64]]

    def best(self, names: Sequence[str], rows: Sequence[int]) -> str:
        """The one that scores best on `rows`; of those that score the same, the least loss."""
        at = list(rows)
        return max(names, key=lambda n: (self.scores[n][at].mean(), -self.losses[n][at].mean()))

    def choose(self, singles: Sequence[str], mixes: Sequence[str], rows: Sequence[int]) -> str:
        """The best of `mixes` where it beats the best of `singles` by a standard error; else that.

        The one-standard-error rule (Breiman et al. 1984), on the paired differences: the best of
        many candidates on few examples owes part of its lead to luck.
        """
        simple, found = self.best(singles, rows), self.best(mixes, rows)
        at = list(rows)
        lead = self.scores[found][at] - self.scores[simple][at]
        error = float(lead.std(ddof=1)) / len(at) ** 0.5
        return found if lead.mean() > error else simple

    def figures(self, name: str, rows: Sequence[int], seed: int) -> dict[str, float]:
        """`score` with its interval `low` to `high`, and `loss`, over `rows`."""
        at = list(rows)
        found = score_of(self.scores[name][at].tolist(), seed)
        loss = float(self.losses[name][at].mean())
        return {"score": found.mean, "low": found.low, "high": found.high, "loss": loss}


def losses_of(losses: Losses, mixes: Mapping[str, Sequence[Mix]]) -> dict[str, NDArray[np.float64]]:
    """The losses [N] of each candidate; the N examples are those of `losses`."""
    found = {}
    for name, each in mixes.items():
        weights = weight_matrix(each, losses.names)
        found[name] = losses.values(weights, range(len(each))).double().numpy()
    return found


def scores_of(
    answers: Answers,
    examples: Sequence[Example],
    mixes: Mapping[str, Sequence[Mix]],
    score_many: ScoreMany,
    max_new_tokens: int,
) -> dict[str, NDArray[np.float64]]:
    """The scores [N] of each candidate's answers to the N examples."""
    prompts = [example.prompt for example in examples]
    found = {}
    for name, each in mixes.items():
        texts = [done.text for done in answers(prompts, each, max_new_tokens)]
        found[name] = np.asarray(score_many(examples, texts), dtype=np.float64)
    return found


def chance(differences: Sequence[float], seed: int = 0) -> float:
    """How often differences as high would come of nothing: a one-sided sign-flip test.

    Under no difference each sign is as likely as the other (Fisher 1935), so the signs are drawn
    anew `FLIPS` times. A bootstrap of five values believes three wins of five; this does not.
    """
    values = np.asarray(differences, dtype=np.float64)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (FLIPS, len(values)))
    hits = int(((signs * values).sum(axis=1) >= values.sum() - 1e-9).sum())
    return (hits + 1) / (FLIPS + 1)


def as_mix(weights: torch.Tensor, names: Sequence[str], least: float = 0.02) -> Mix:
    """A mix that can be read and typed: weights [K] to three digits, small ones left out."""
    return Mix.of(
        {
            name: round(weight, 3)
            for name, weight in zip(names, weights.tolist(), strict=True)
            if weight >= least
        }
    )

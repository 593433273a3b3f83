"""The keyword router: a rule that can be read.

Each skill has its words, and pairs of words, that its prompts hold more often than the others'.
A word votes with its log-ratio; the votes found in a prompt are added up:

    vote(w, k)  = log p(w | k) - log mean_{j ≠ k} p(w | j)          kept where above log 2
    score(k)    = softmax_k( Σ_{w in prompt} vote(w, k) / sqrt(number of words found) )

A prompt with no such word goes to the base.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.gate.router import Router, check_fit, check_prompts
from loramix.gate.words import terms_of
from loramix.mix import BASE

KEPT = 300  # terms a skill: beyond them come accidents of its examples
MIN_RATE = 0.02  # a term in fewer of a skill's prompts is an accident too
MIN_VOTE = math.log(2)
_SHOWN = 8


class KeywordRouter(Router):
    """Scores by the words found in the prompt.

    Attributes:
        rates: column (a skill or `base`) → term → share of its prompts that hold the term.
        votes: the same with each term's vote, where it has one.
    """

    name: ClassVar[str] = "keywords"

    def __init__(
        self, skills: Sequence[str], rates: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        self.skills = tuple(skills)
        self.rates = {name: dict((rates or {}).get(name, {})) for name in (*self.skills, BASE)}
        self.votes = self._count_votes()

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        """Learns the words of each skill from its prompts; see `Router.fit`."""
        check_fit(prompts, targets, self.skills)
        terms = [set(terms_of(prompt)) for prompt in prompts]
        for column, name in enumerate((*self.skills, BASE)):
            weights = targets[:, column].tolist()
            total = sum(weights)
            counts: defaultdict[str, float] = defaultdict(float)
            for found, weight in zip(terms, weights, strict=True):
                if weight:
                    for term in found:
                        counts[term] += weight
            frequent = [(t, c / total) for t, c in counts.items() if c >= MIN_RATE * total]
            frequent.sort(key=lambda item: (-item[1], item[0]))
            self.rates[name] = {term: round(rate, 4) for term, rate in frequent[: KEPT * 4]}
        self.votes = self._count_votes()
        # Only words that vote for somebody are worth keeping, for everybody.
        voting = {t for own in self.votes.values() for t in list(own)[:KEPT]}
        self.rates = {
            name: {t: rate for t, rate in own.items() if t in voting}
            for name, own in self.rates.items()
        }
        self.votes = self._count_votes()
        return self

    def replaced(self, skills: Sequence[str], prompts: Mapping[str, Sequence[str]]) -> Self:
        """A router for `skills`: the known ones keep their words, the others learn from prompts."""
        rates = {name: own for name, own in self.rates.items() if name not in prompts}
        for name, own in prompts.items():
            if own:
                alone = type(self)([name]).fit(own, torch.tensor([[1.0, 0.0]] * len(own)))
                rates[name] = alone.rates[name]
        return type(self)(skills, rates)

    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1]; see `Router.scores`."""
        check_prompts(prompts)
        names = (*self.skills, BASE)
        logits = torch.zeros(len(prompts), len(names))
        for row, prompt in enumerate(prompts):
            found = self._found(prompt)
            distinct = len({term for own in found.values() for term in own})
            for column, name in enumerate(names):
                logits[row, column] = sum(found[name].values()) / max(1, distinct) ** 0.5
            if not distinct:
                logits[row, -1] = 4.0
        return logits.softmax(1)

    def explain(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """`words`: for each skill the words found, the strongest votes first."""
        out = []
        for prompt in prompts:
            found = self._found(prompt)
            ranked = {
                name: sorted(own, key=lambda term: (-own[term], term))[:_SHOWN]
                for name, own in found.items()
                if own
            }
            out.append({"words": ranked})
        return out

    def _found(self, prompt: str) -> dict[str, dict[str, float]]:
        terms = set(terms_of(prompt))
        return {
            name: {term: votes[term] for term in terms if term in votes}
            for name, votes in self.votes.items()
        }

    def _count_votes(self) -> dict[str, dict[str, float]]:
        """The votes of each column, strongest first; words alone must carry some weight."""
        votes = {}
        for name, own in self.rates.items():
            others = [rates for other, rates in self.rates.items() if other != name and rates]
            mine = {}
            for term, rate in own.items():
                elsewhere = sum(r.get(term, 0.0) for r in others) / max(1, len(others))
                vote = math.log((rate + MIN_RATE / 4) / (elsewhere + MIN_RATE / 4))
                if vote >= MIN_VOTE:
                    mine[term] = vote
            # By what a word tells over all prompts: how often it votes, times how strongly.
            votes[name] = dict(sorted(mine.items(), key=lambda i: (-i[1] * own[i[0]], i[0])))
        return votes

"""The nearest centroid: no training, only the mean of what a skill's memory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from loramix.errors import DataError
from loramix.gate.features import FeatureExtractor
from loramix.gate.router import Router, check_fit

SHARPNESS = 12.0  # turns cosines, which lie close together, into scores that differ
_SEEN = 1e-6


class CentroidRouter(Router):
    """Scores by the cosine between a prompt's features and each skill's mean features.

        score = softmax_k( 12 · cos(x - m, c_k - m) )        m: mean of the centroids

    Args:
        extractor: makes the features.
        skills: the skills to tell apart.
    """

    name: ClassVar[str] = "centroid"

    def __init__(self, extractor: FeatureExtractor, skills: Sequence[str]) -> None:
        self.extractor = extractor
        self.skills = tuple(skills)
        self.centroids: Tensor | None = None  # [K + 1, F]
        self.deviation = torch.ones(extractor.width)

    def fit(self, prompts: Sequence[str], targets: Tensor) -> Self:
        """Takes the weighted mean features of each skill; see `Router.fit`."""
        check_fit(prompts, targets, self.skills)
        features = self.extractor.features(prompts)
        weights = targets / targets.sum(0).clamp_min(_SEEN)
        self.centroids = weights.T @ features
        self.deviation = features.var(0, correction=0).sqrt().clamp_min(_SEEN)
        return self

    def fit_memory(self, memories: Mapping[str, Tensor], none: Tensor) -> Self:
        """The same from stored features: [N, F] for each skill, and those of no skill."""
        groups = [memories[name].float() for name in self.skills] + [none.float()]
        every = torch.cat(groups)
        if not len(every):
            raise DataError("The library remembers no prompts.", hint="add skills with examples")
        self.centroids = torch.stack([g.mean(0) if len(g) else every[0] * 0 for g in groups])
        self.deviation = every.var(0, correction=0).sqrt().clamp_min(_SEEN)
        return self

    def scores(self, prompts: Sequence[str]) -> Tensor:
        """Scores [B, K + 1]; see `Router.scores`."""
        if self.centroids is None:
            raise DataError("The centroid router has not been fitted.")
        features = self.extractor.features(prompts)
        known = self.centroids.abs().sum(1) > 0  # a column without prompts has no centroid
        center = self.centroids[known].mean(0)
        # Columns that never vary carry no distance, only noise of a division by almost 0.
        scale = torch.where(self.deviation > 1e-4, 1 / self.deviation, 0.0)
        points = torch.nn.functional.normalize((features - center) * scale, dim=1)
        means = torch.nn.functional.normalize((self.centroids - center) * scale, dim=1)
        logits = SHARPNESS * points @ means.T
        return logits.masked_fill(~known, -1e4).softmax(1)

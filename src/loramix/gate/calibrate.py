"""Honest scores: a temperature for the probabilities, and thresholds for the policy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loramix.mix import Policy

MAX_REFUSED = 0.03  # of the prompts that do need a skill, how many may fall back to the base
_RANGE = (0.25, 8.0)  # a temperature outside says that there was nothing to calibrate on


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The T that minimises the cross-entropy of softmax(logits / T) (Guo et al., 2017).

    Args:
        logits: [N, C] of prompts that the network was not fitted on.
        targets: [N, C], rows sum to 1.

    Returns:
        T, and 1 if there are no rows.
    """
    if not len(logits):
        return 1.0

    def loss(log_t: float) -> float:
        log_scores = (logits / math.exp(log_t)).log_softmax(1)
        return float(-(targets * log_scores).sum(1).mean())

    # The loss has one minimum in T, so a golden-section search finds it.
    low, high = (math.log(end) for end in _RANGE)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return math.exp((low + high) / 2)


def fit_policy(scores: Tensor, targets: Tensor) -> Policy:
    """A `top1` policy whose thresholds are fitted on held-out scores.

    `blend_threshold` parts prompts that need one skill from those that need two, by the
    second skill's share; `none_threshold` parts prompts of no skill from the others, by the
    score of `base`, and refuses at most 3 % of these. Both are thresholds of the best balanced
    accuracy; where nothing was given to fit one on, it keeps the policy's default.

    Args:
        scores: [N, K + 1], rows sum to 1.
        targets: [N, K + 1], rows sum to 1.
    """
    default = Policy()
    needed = (targets[:, :-1] > 0.05).sum(1)
    shares = scores[:, :-1] / scores[:, :-1].sum(1, keepdim=True).clamp_min(1e-9)
    second = shares.topk(2, dim=1).values[:, 1] if shares.shape[1] > 1 else shares[:, 0] * 0
    blend = best_threshold(second[needed == 1].tolist(), second[needed == 2].tolist())
    skilled, none = scores[needed > 0, -1].tolist(), scores[needed == 0, -1].tolist()
    refuse = best_threshold(skilled, none, MAX_REFUSED)
    return Policy(
        # A share of one half is the most that a second skill can have.
        blend_threshold=default.blend_threshold if blend is None else min(max(blend, 0.05), 0.45),
        none_threshold=default.none_threshold if refuse is None else min(max(refuse, 0.2), 0.9),
    )


def best_threshold(
    below: Sequence[float], above: Sequence[float], max_wrong: float = 1.0
) -> float | None:
    """The threshold of the best balanced accuracy: `below` under it, `above` from it on.

    Args:
        below: values that should be under the threshold.
        above: values that should reach it.
        max_wrong: how much of `below` may reach it all the same.

    Returns:
        The middle of the widest best gap, or None if one of the lists is empty.
    """
    if not below or not above:
        return None
    low, high = torch.tensor(below), torch.tensor(above)
    values = sorted({0.0, 1.0, *below, *above})
    best, found = (-1.0, 0.0), 1.0
    for left, right in itertools.pairwise(values):
        middle = (left + right) / 2
        wrong = float((low >= middle).float().mean())
        balanced = (1 - wrong + float((high >= middle).float().mean())) / 2
        if wrong <= max_wrong and (balanced, right - left) > best:
            best, found = (balanced, right - left), middle
    return found

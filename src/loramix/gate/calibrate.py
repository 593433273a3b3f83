"""Honest scores: a temperature for the probabilities, and thresholds for the policy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loramix.mix import Policy

MAX_REFUSED = 0.03  # of the prompts that do need a skill, how many may fall back to the base
SLACK = 0.02
_RANGE = (1.0, 8.0)  # never sharper than fitted: held-out prompts are of the fitted kinds


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
    score of `base`, and refuses at most 3 % of these. Both part best by balanced accuracy, as near
    to the policy's defaults as that allows.

    Args:
        scores: [N, K + 1], rows sum to 1.
        targets: [N, K + 1], rows sum to 1.
    """
    default = Policy()
    needed = (targets[:, :-1] > 0.05).sum(1)
    shares = scores[:, :-1] / scores[:, :-1].sum(1, keepdim=True).clamp_min(1e-9)
    second = shares.topk(2, dim=1).values[:, 1] if shares.shape[1] > 1 else shares[:, 0] * 0
    skilled, none = scores[needed > 0, -1].tolist(), scores[needed == 0, -1].tolist()
    return Policy(
        blend_threshold=best_threshold(
            second[needed == 1].tolist(), second[needed == 2].tolist(), default.blend_threshold
        ),
        none_threshold=best_threshold(skilled, none, default.none_threshold, MAX_REFUSED),
    )


def best_threshold(
    below: Sequence[float], above: Sequence[float], prefer: float, max_wrong: float = 1.0
) -> float:
    """A threshold that parts two lists: `below` under it, `above` from it on.

    Args:
        below: values that should be under the threshold.
        above: values that should reach it.
        prefer: of all thresholds that part about as well as the best one (balanced accuracy
            within 2 points) the nearest to this is taken. Held-out prompts often part perfectly
            at any of a wide range; what users write then needs the room on both sides.
        max_wrong: how much of `below` may reach it all the same.

    Returns:
        The threshold; `prefer` if one of the lists is empty, or nothing is allowed.
    """
    if not below or not above:
        return prefer
    low, high = torch.tensor(below), torch.tensor(above)
    values = sorted({0.0, 1.0, *below, *above})
    found: list[tuple[float, float]] = []
    for threshold in [prefer, *((a + b) / 2 for a, b in itertools.pairwise(values))]:
        wrong = float((low >= threshold).float().mean())
        if wrong <= max_wrong:
            found.append(((1 - wrong + float((high >= threshold).float().mean())) / 2, threshold))
    best = max((balanced for balanced, _ in found), default=0.0)
    good = [threshold for balanced, threshold in found if balanced >= best - SLACK]
    return min(good, key=lambda threshold: abs(threshold - prefer), default=prefer)

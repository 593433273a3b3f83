"""Figures and how sure they are.

A score is a mean over examples, each from 0 to 1. Where each is right or wrong, its interval is
Wilson's (1927), which has a width even if all are right: of 40 right ones of 40 it says 0.912 to 1.
Elsewhere, and for differences of systems on the same examples, it is a percentile bootstrap (Efron
1979): resample the examples with replacement, take the figure each time, and read off the middle
95 %. Classification figures come from scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Score:
    """A mean with its 95 % interval.

    Attributes:
        mean: of `n` values; NaN if there are none.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float]:
        """`score`, `low`, `high` and `n`."""
        return {"score": self.mean, "low": self.low, "high": self.high, "n": self.n}


def resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means [RESAMPLES, S] of resamples of the rows of `values` [n, S].

    The same n and seed draw the same rows, so that what two systems make of the same examples is
    paired.
    """
    rng = np.random.default_rng(seed)
    n, means = len(values), np.empty((RESAMPLES, values.shape[1]))
    rows = np.arange(100)[:, None] * n
    for start in range(0, RESAMPLES, 100):  # [100, n] at a time: large sets need no more memory
        picks = rng.integers(0, n, (100, n))
        counts = np.bincount((picks + rows).ravel(), minlength=100 * n).reshape(100, n)
        means[start : start + 100] = counts @ values / n
    return means


def interval_of(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of a figure's resamples; a resample without a figure (NaN) is left out."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share of `n` examples that are right or wrong.

    (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n), z the normal quantile (Wilson 1927).
    """
    from scipy.stats import norm

    z = float(norm.ppf((1 + LEVEL) / 2))
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    # rounding must not part an interval from its own share
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def figure_interval(
    values: NDArray[np.float64], figure: float, resampled: NDArray[np.float64]
) -> tuple[float, float]:
    """Wilson's interval of right or wrong values, the bootstrap's of others.

    Args:
        values: [n, S] numbers of whose means the figure is made; with S = 1 it is their mean.
        figure: of all values.
        resampled: of their resamples.
    """
    low, high = interval_of(resampled)
    right_or_wrong = values.shape[1] == 1 and np.isin(values, (0.0, 1.0)).all()
    # F1 over classes whose answers are all right, or all wrong, has no other resample either
    if right_or_wrong or (low == high and figure in (0.0, 1.0)):
        return wilson(figure, len(values))
    return low, high


def interval_of_mean(scores: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The interval of the mean of independent scores, each (score, low, high).

    Distances to the ends add as the roots of squares do (MOVER; Zou & Donner 2008), so that a
    score of 1 brings the width of its own interval, where a bootstrap would bring none.
    """
    mean = sum(score for score, _, _ in scores) / len(scores)
    below = math.sqrt(sum((score - low) ** 2 for score, low, _ in scores)) / len(scores)
    above = math.sqrt(sum((high - score) ** 2 for score, _, high in scores)) / len(scores)
    return mean - below, mean + above


def paired_interval(
    differences: NDArray[np.float64], figure: float, resampled: NDArray[np.float64]
) -> tuple[float, float]:
    """The bootstrap's interval of a mean difference of two scores, each from 0 to 1.

    Where all pairs differ alike no resample differs, and few pairs prove little: others may be a
    share p of all, 1 - p to the power of n being 2.5 % (the exact bound of Clopper & Pearson 1934),
    and differ by anything from -1 to 1. Five pairs out of five are not clear then, six are, as in
    the sign test.

    Args:
        differences: [n], of each pair.
        figure: their mean.
        resampled: means of their resamples.
    """
    low, high = interval_of(resampled)
    if (differences == differences[0]).all() and abs(figure) <= 1:
        others = 1 - ((1 - LEVEL) / 2) ** (1 / len(differences))
        return figure - others * (figure + 1), figure + others * (1 - figure)
    return low, high


def score_of(values: Sequence[float], seed: int = 0) -> Score:
    """The mean of `values`, each from 0 to 1, and its interval."""
    if not len(values):
        return Score(float("nan"), float("nan"), float("nan"), 0)
    array = np.asarray(values, dtype=np.float64)[:, None]
    mean = float(array.mean())
    low, high = figure_interval(array, mean, resampled_means(array, seed)[:, 0])
    return Score(mean, low, high, len(array))


def difference_of(better: Sequence[float], worse: Sequence[float], seed: int = 0) -> Score:
    """The mean of the pairwise differences of two systems on the same examples, bootstrapped.

    `low > 0` says that the first is clearly above the second.

    Raises:
        ValueError: the two have not the same number of examples.
    """
    if len(better) != len(worse):
        raise ValueError(f"{len(better)} and {len(worse)} values are no pairs")
    if not len(better):
        return Score(float("nan"), float("nan"), float("nan"), 0)
    array = np.asarray(better, dtype=np.float64) - np.asarray(worse, dtype=np.float64)
    mean = float(array.mean())
    low, high = paired_interval(array, mean, resampled_means(array[:, None], seed)[:, 0])
    return Score(mean, low, high, len(array))


def classification(
    truth: Sequence[str], predicted: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro F1 and the confusion table of a classifier.

    Args:
        truth, predicted: one name for each item.
        names: all classes, in the order of the table's rows (truth) and columns (predicted).

    Returns:
        `accuracy`, `macro_f1` over the classes that are true of some item, and `confusion`:
        `{"names": names, "counts": [[…]]}`.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    occurring = [name for name in names if name in truth]
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(
            f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
        ),
        "confusion": {
            "names": list(names),
            "counts": confusion_matrix(truth, predicted, labels=list(names)).tolist(),
        },
    }


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve: the chance that a positive item scores above a negative one.

    NaN where only one of the two kinds is there.
    """
    from sklearn.metrics import roc_auc_score

    if len(set(positive)) < 2:
        return float("nan")
    return float(roc_auc_score(np.asarray(positive, dtype=int), np.asarray(scores)))


def calibration_curve(
    confidences: Sequence[float], correct: Sequence[bool], bins: int = 10
) -> list[dict[str, float]]:
    """Confidence and accuracy in equal bins of confidence; empty bins are left out.

    Returns:
        One `{"confidence", "accuracy", "share"}` for each bin; `share` of the items is in it.
    """
    trust = np.asarray(confidences, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    places = np.minimum((trust * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(trust[places == b].mean()),
            "accuracy": float(right[places == b].mean()),
            "share": float((places == b).mean()),
        }
        for b in range(bins)
        if (places == b).any()
    ]


def ece(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: Σ_b share_b · |accuracy_b - confidence_b| (Naeini 2015).

    Over the bins of `calibration_curve`; 0 without items.
    """
    return sum(
        point["share"] * abs(point["accuracy"] - point["confidence"])
        for point in calibration_curve(confidences, correct, bins)
    )

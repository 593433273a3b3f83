"""Scores of answers against what the data says, each from 0 to 1.

    METRICS["f1"](["in Paris"], ["Paris"])        # expected, given → [0.667]

All compare after the normalisation of SQuAD's evaluation (Rajpurkar et al. 2016): lower case, no
punctuation, no articles, single spaces.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

Metric = Callable[[str, str], float]
"""The expected answer and the given one → a score."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def normal(text: str) -> str:
    """`text` as it is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(expected: str, given: str) -> float:
    """1 if both are the same text."""
    return float(normal(expected) == normal(given))


def f1(expected: str, given: str) -> float:
    """2 P R / (P + R) over the bag of words (Rajpurkar et al. 2016)."""
    wanted, found = normal(expected).split(), normal(given).split()
    if not wanted or not found:
        return float(wanted == found)
    shared = sum((Counter(wanted) & Counter(found)).values())
    return 2 * shared / (len(wanted) + len(found))


def rouge_l(expected: str, given: str) -> float:
    """2 L / (m + n) with L the longest common subsequence of words (Lin 2004, β = 1)."""
    wanted, found = normal(expected).split(), normal(given).split()
    if not wanted or not found:
        return float(wanted == found)
    best = [0] * (len(found) + 1)
    for word in wanted:
        above = 0  # best[j] of the row before, at j - 1
        for j, other in enumerate(found, start=1):
            above, best[j] = best[j], above + 1 if word == other else max(best[j], best[j - 1])
    return 2 * best[-1] / (len(wanted) + len(found))


def number(expected: str, given: str) -> float:
    """1 if the last number in both is the same."""
    wanted, found = _last_number(expected), _last_number(given)
    return float(wanted is not None and wanted == found)


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


METRICS: dict[str, Metric] = {"exact": exact, "f1": f1, "rouge_l": rouge_l, "number": number}


def score_answers(metric: str, expected: Sequence[str], given: Sequence[str]) -> list[float]:
    """One score for each answer."""
    return [METRICS[metric](want, found) for want, found in zip(expected, given, strict=True)]

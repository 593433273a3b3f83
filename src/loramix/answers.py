"""Scores of answers against what the data says, each from 0 to 1.

    METRICS["f1"](["in Paris"], ["Paris"])        # expected, given → [0.667]

`exact` and `f1` compare after the normalisation of SQuAD's evaluation (Rajpurkar et al. 2016):
lower case, no punctuation, no articles, single spaces. That is for answers in words; `identical` is
for what punctuation and case are part of, such as code. ROUGE is the `rouge-score` package's.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

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


def identical(expected: str, given: str) -> float:
    """1 if both are the same, whatever space is between their words and around them."""
    return float(expected.split() == given.split())


def label(text: str) -> str:
    """The name of a class as it is compared: case, quotes and a last full stop do not matter.

    Signs do, and so does a name that is an article: -1 is not 1, and A is a name.
    """
    return " ".join(text.strip(" \t\r\n\"'`*.!").lower().split())


def f1(expected: str, given: str) -> float:
    """2 P R / (P + R) over the bag of words (Rajpurkar et al. 2016)."""
    wanted, found = normal(expected).split(), normal(given).split()
    if not wanted or not found:
        return float(wanted == found)
    shared = sum((Counter(wanted) & Counter(found)).values())
    return 2 * shared / (len(wanted) + len(found))


def _rouge(kind: str, expected: str, given: str) -> float:
    """F-measure of `rouge-score` (Lin 2004); no stemming, so that it holds for any language."""
    if not normal(expected) or not normal(given):
        return float(normal(expected) == normal(given))
    return float(_scorer(kind).score(expected, given)[kind].fmeasure)


@functools.cache
def _scorer(kind: str) -> Any:
    from rouge_score import rouge_scorer, tokenizers

    class Words(tokenizers.Tokenizer):  # type: ignore[misc]
        """The words of `normal`: the package's own tokenizer drops all that is not a-z and 0-9."""

        def tokenize(self, text: str) -> list[str]:
            return normal(text).split()

    return rouge_scorer.RougeScorer([kind], tokenizer=Words())


def rouge_1(expected: str, given: str) -> float:
    """ROUGE-1: single words in common."""
    return _rouge("rouge1", expected, given)


def rouge_2(expected: str, given: str) -> float:
    """ROUGE-2: pairs of words in common."""
    return _rouge("rouge2", expected, given)


def rouge_l(expected: str, given: str) -> float:
    """ROUGE-L: the longest common subsequence of words."""
    return _rouge("rougeL", expected, given)


def number(expected: str, given: str) -> float:
    """1 if the last number in both is the same."""
    wanted, found = last_number(expected), last_number(given)
    return float(wanted is not None and wanted == found)


def last_number(text: str) -> float | None:
    """The last number of a text, commas between its digits allowed; None if it has none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


METRICS: dict[str, Metric] = {
    "exact": exact,
    "identical": identical,
    "f1": f1,
    "rouge_1": rouge_1,
    "rouge_2": rouge_2,
    "rouge_l": rouge_l,
    "number": number,
}


def score_answers(metric: str, expected: Sequence[str], given: Sequence[str]) -> list[float]:
    """One score for each answer."""
    return [METRICS[metric](want, found) for want, found in zip(expected, given, strict=True)]

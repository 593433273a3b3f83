"""How answers are scored: metrics by name, and which of them suits a task.

Every metric turns the answer to an example into a few numbers, and the mean of these over the
examples into a figure. For most there is one number, the score; perplexity has nats and tokens,
and F1 over classes has a table of truth and prediction. So one bootstrap serves all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loramix.answers import METRICS, label, last_number, normal
from loramix.data import Example
from loramix.errors import UsageError, nearest
from loramix.pocket.sandbox import run_many
from loramix.pocket.tasks.code import source, with_handle

Array = NDArray[np.float64]

MOST_LABELS = 50
NO_FUNCTION = "no Python function in the answer"
_LABEL_WORDS = 5
_MOST_IDS = 20
_ROWS_AN_ID = 4


class Marks(NamedTuple):
    """What a metric makes of the answers to n examples.

    Attributes:
        values: [n, S] numbers, of whose means the figure is made.
        failed: reason → rows that could not be judged as answers; they count as wrong.
    """

    values: Array
    failed: dict[str, int] = {}  # noqa: RUF012  # of a tuple, never changed


Mark = Callable[[Sequence[Example], Sequence[str]], Marks]


def _first(means: Array) -> Array:
    return means[..., 0]


@dataclass(frozen=True)
class Metric:
    """A way to score.

    Attributes:
        name: as it is asked for.
        mark: examples and texts → marks; None for perplexity, which reads likelihoods.
        figure: means [..., S] → figures [...].
        misfit: why it cannot score these examples, or None.
        higher: whether more is better.
        also: metrics that are worth seeing beside it.
        blank: whether it marks a row without an answer itself; else that row's marks are 0.
    """

    name: str
    mark: Mark | None = None
    figure: Callable[[Array], Array] = _first
    misfit: Callable[[Sequence[Example]], str | None] = lambda _: None
    higher: bool = True
    also: tuple[str, ...] = field(default=())
    blank: bool = False

    def score_each(self, examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        """A score for each answer, for what needs one: F1 over classes has only its accuracy, and
        a perplexity is of no answer, so that the exact text counts.
        """
        by_row = {"macro_f1": "accuracy", "perplexity": "exact"}.get(self.name)
        mark = self.mark if by_row is None else SCORED[by_row].mark
        assert mark is not None
        scores: list[float] = mark(examples, texts).values[:, 0].tolist()
        return scores


def references(example: Example) -> list[str]:
    """The right answers: the completion, and those of the row's list that it was taken from.

    SQuAD counts the best of several (Rajpurkar et al. 2016): `answers`, or `answers.text`.
    """
    listed: Any = example.meta.get("answers")
    if isinstance(listed, Mapping):
        listed = listed.get("text")
    several = listed if isinstance(listed, list) else []
    texts = [text for text in several if isinstance(text, str) and text.strip()]
    if example.completion not in texts:
        return [example.completion]
    return list(dict.fromkeys([example.completion, *texts]))


def of_scores(score_many: Callable[[Sequence[Example], Sequence[str]], Sequence[float]]) -> Mark:
    """A mark from a score for each answer."""

    def mark(examples: Sequence[Example], texts: Sequence[str]) -> Marks:
        return Marks(np.asarray(score_many(examples, texts), dtype=np.float64).reshape(-1, 1))

    return mark


def own_metric(
    score_many: Callable[[Sequence[Example], Sequence[str]], Sequence[float]],
) -> Metric:
    """The metric that a builtin task brings."""
    return Metric("own", of_scores(score_many))


def _of_text(metric: Callable[[str, str], float]) -> Mark:
    """A mark from a score of two texts: the best over the right answers of a row."""

    def score(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        return [
            max(metric(wanted, text) for wanted in references(example))
            for example, text in zip(examples, texts, strict=True)
        ]

    return of_scores(score)


# ── classes ──────────────────────────────────────────────────────────────────────────────────


def _labels(examples: Sequence[Example]) -> list[str]:
    return sorted({label(example.completion) for example in examples})


def _confusion(examples: Sequence[Example], texts: Sequence[str]) -> Marks:
    """For each example a table [C, C + 1] with one 1: its class, and the one that was answered.

    The last column is for whatever is no class at all.
    """
    place = {label: i for i, label in enumerate(_labels(examples))}
    classes = len(place)
    tables = np.zeros((len(examples), classes, classes + 1))
    for row, (example, text) in enumerate(zip(examples, texts, strict=True)):
        tables[row, place[label(example.completion)], place.get(label(text), classes)] = 1
    return Marks(tables.reshape(len(examples), -1))


def macro_f1(means: Array) -> Array:
    """Mean over the classes that are true of some example of 2 TP / (2 TP + FP + FN).

    What `sklearn.metrics.f1_score(average="macro")` gives, for many resamples at once.

    Args:
        means: [..., C · (C + 1)], see `_confusion`.
    """
    classes = int(np.sqrt(means.shape[-1]))
    table = means.reshape(*means.shape[:-1], classes, classes + 1)
    right = np.diagonal(table[..., :classes], axis1=-2, axis2=-1)
    true, given = table.sum(-1), table[..., :classes].sum(-2)
    occurs = true > 0
    both = np.where(true + given > 0, true + given, 1.0)
    shown: Array = (2 * right / both * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)
    return shown


def _same_class(expected: str, given: str) -> float:
    return float(label(expected) == label(given))


def _no_labels(examples: Sequence[Example]) -> str | None:
    labels = _labels(examples)
    if len(labels) > MOST_LABELS:
        return f"{len(labels)} different answers are no classes (at most {MOST_LABELS})"
    long = next((name for name in labels if not 0 < len(name.split()) <= _LABEL_WORDS), None)
    return None if long is None else f"the answer {_short(long)} is no name of a class"


# ── text, numbers, programs ──────────────────────────────────────────────────────────────────


def _nothing_left(examples: Sequence[Example]) -> str | None:
    for example in examples:
        if not normal(example.completion):
            return f"the answer {_short(example.completion)} has no words to compare"
    return None


def _no_number(examples: Sequence[Example]) -> str | None:
    for example in examples:
        if last_number(example.completion) is None:
            return f"the answer {_short(example.completion)} has no number"
    return None


def tests_of(example: Example) -> list[str]:
    """The tests of a row: its column `tests`, or `test_list` as MBPP calls it; maybe none."""
    found: Any = example.meta.get("tests", example.meta.get("test_list"))
    if not isinstance(found, list) or not all(isinstance(test, str) for test in found):
        return []
    return found


def _no_tests(examples: Sequence[Example]) -> str | None:
    for example in examples:
        if not tests_of(example):
            return "a row has no column `tests` with a list of assertions"
    return None


def _passed(examples: Sequence[Example], texts: Sequence[str]) -> Marks:
    """1 where the answer's program passes all tests of its row, each in a process of its own."""
    programs = [with_handle(source(text)) for text in texts]
    runs = [(c, tests_of(e)) for c, e in zip(programs, examples, strict=True) if c is not None]
    outcomes = iter(run_many(runs) if runs else [])
    values, failed = np.zeros((len(texts), 1)), Counter[str]()
    for row, program in enumerate(programs):
        if program is None:
            failed[NO_FUNCTION] += 1
            continue
        outcome = next(outcomes)
        values[row, 0] = outcome.passed
        if not outcome.passed and not re.match(r"test \d+ failed: ", outcome.reason):
            failed[re.sub(r"^test \d+", "a test", outcome.reason)] += 1
    return Marks(values, dict(failed))


def _perplexity(means: Array) -> Array:
    """exp(Σ nats / Σ tokens)."""
    with np.errstate(invalid="ignore"):  # nothing was rated: there is no figure
        shown: Array = np.exp(means[..., 0] / means[..., 1])
    return shown


_TEXT = {name: _of_text(metric) for name, metric in METRICS.items()}

SCORED: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _of_text(_same_class), misfit=_no_labels, also=("macro_f1",)),
        Metric(
            "macro_f1", _confusion, macro_f1, _no_labels, also=("accuracy",), blank=True
        ),
        Metric("exact", _TEXT["exact"], misfit=_nothing_left, also=("f1",)),
        Metric("identical", _TEXT["identical"]),
        Metric("f1", _TEXT["f1"], misfit=_nothing_left, also=("exact",)),
        Metric("rouge_1", _TEXT["rouge_1"], misfit=_nothing_left, also=("rouge_2", "rouge_l")),
        Metric("rouge_2", _TEXT["rouge_2"], misfit=_nothing_left, also=("rouge_1", "rouge_l")),
        Metric("rouge_l", _TEXT["rouge_l"], misfit=_nothing_left, also=("rouge_1", "rouge_2")),
        Metric("number", _TEXT["number"], misfit=_no_number),
        Metric("tests", _passed, misfit=_no_tests),
        Metric("perplexity", None, _perplexity, higher=False),
    )
}
"""Metrics by name. `auto` is a builtin task's own score, or what `default_metric` finds."""


def _are_ids(answers: Sequence[str]) -> bool:
    """Whether whole numbers are names of classes: few of them, each there several times."""
    different = {answer.strip() for answer in answers}
    whole = all(re.fullmatch(r"-?[0-9]+", answer) for answer in different)
    return whole and len(different) <= _MOST_IDS and _ROWS_AN_ID * len(different) <= len(answers)


def default_metric(examples: Sequence[Example]) -> Metric:
    """What suits the answers: tests, classes, numbers, a few words, or longer text."""
    answers = [example.completion for example in examples]
    if _no_tests(examples) is None:
        return SCORED["tests"]
    if _are_ids(answers):
        return SCORED["accuracy"]
    if _no_number(examples) is None and all(
        "####" in answer or not re.search(r"[^\W\d_]{2,}", answer) for answer in answers
    ):
        return SCORED["number"]
    if _no_labels(examples) is None and 2 * len(_labels(examples)) <= max(4, len(examples)):
        return SCORED["accuracy"]
    words = float(np.mean([len(normal(answer).split()) for answer in answers]))
    return SCORED["f1" if words <= _LABEL_WORDS else "rouge_l"]


def find_metric(name: str, task: str, examples: Sequence[Example]) -> Metric:
    """The metric of that name for a task.

    Raises:
        UsageError: there is none, or it does not fit the examples.
    """
    if name == "auto":
        return default_metric(examples)
    check_metric(name)
    metric = SCORED[name]
    misfit = metric.misfit(examples)
    if misfit is not None:
        raise UsageError(
            f"The metric {name} does not fit the task {task!r}.",
            given=misfit,
            expected=f"perhaps {default_metric(examples).name}",
            hint=f"--metric {task}={default_metric(examples).name}, or leave it out",
        )
    return metric


def check_metric(name: str) -> None:
    """Raises UsageError unless there is a metric of that name."""
    if name not in SCORED and name != "auto":
        near = nearest(name, [*SCORED, "auto"])
        raise UsageError(
            "There is no such metric.",
            given=name,
            expected=f"auto, {', '.join(SCORED)}",
            hint=f"did you mean {near!r}?" if near else "name one of them, or leave it out",
        )


def score_each(name: str, examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
    """The same by the metric's name."""
    return SCORED[name].score_each(examples, texts)


def companions(metric: Metric, examples: Sequence[Example]) -> list[Metric]:
    """Those metrics beside a task's own that fit its examples."""
    names = metric.also
    if metric.name == "own":
        suiting = default_metric(examples)
        names = (suiting.name, *suiting.also)
    return [SCORED[name] for name in names if SCORED[name].misfit(examples) is None]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 40 else flat[:39] + "…")

"""Prompts with what a router makes of them, and what that mix of adapters writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loramix.errors import LoramixError
from loramix.evaluate.answering import Answer, Answers, why_not
from loramix.evaluate.cache import Question
from loramix.gate.router import Router, route
from loramix.mix import Mix, Policy


@dataclass(frozen=True)
class Shown:
    """A prompt that is shown.

    Attributes:
        title: what it is, in a few words.
        prompt: the text.
        max_new_tokens: of its answer.
        expected: the right answer, where it is to be shown.
        mix: that answers it where there is no router.
    """

    title: str
    prompt: str
    max_new_tokens: int
    expected: str | None = None
    mix: Mix | None = None


def answer_samples(
    answers: Answers, shown: Sequence[Shown], router: Router | None, policy: Policy | None = None
) -> list[dict[str, Any]]:
    """The `samples` of a report; a prompt that cannot be answered shows the reason.

    Args:
        answers: of the base with the skills beside it.
        shown: what is asked. Without a router, only what has a mix of its own.
        router, policy: who chooses.
    """
    if router is None:
        routed = [(each, each.mix, dict[str, float]()) for each in shown if each.mix is not None]
    else:
        found = route(router, [each.prompt for each in shown], policy)
        routed = [(each, r.mix, r.scores) for each, r in zip(shown, found, strict=True)]
    done = answers.ask([Question(each.prompt, mix, each.max_new_tokens) for each, mix, _ in routed])
    return [
        {
            "title": each.title,
            "prompt": each.prompt,
            "scores": dict(scores),
            "mix": dict(mix.weights),
            "text": _written(answer),
            "expected": each.expected,
        }
        for (each, mix, scores), answer in zip(routed, done, strict=True)
    ]


def _written(answer: Answer) -> str:
    if isinstance(answer, LoramixError):
        return f"(no answer: {why_not(answer)})"
    return answer.text.strip()
